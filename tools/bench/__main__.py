"""Measure the promises of speed and memory, each against its baseline, and print a table.

Usage: tools/dev bench [-- --only overhead big] [--repeat 5] [--no-peers]

Other systems are measured too if `tools/dev peers` has created their environments. Exits with 1 if a promise is not
kept. Stop other work on the machine first, since a figure is the median of the repeats, not the best.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from pathlib import Path

import algorithms
import boosting
import deployed
import fleets
import matching
import suites
import summaries
import transfer
from runner import ROOT, Row, Runner

SUITES = {
    **suites.SUITES,
    **transfer.SUITES,
    **deployed.SUITES,
    **algorithms.SUITES,
    **boosting.SUITES,
    **matching.SUITES,
    **summaries.SUITES,
    **fleets.SUITES,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/dev bench --", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=list(SUITES), default=list(SUITES), help="which suites")
    parser.add_argument("--repeat", type=int, default=5, help="number of timings of each pair (5)")
    parser.add_argument("--no-peers", action="store_true", help="leave other systems out")
    options = parser.parse_args()
    peers = {} if options.no_peers else {path.parent.name: path.parent for path in ROOT.glob(".peers/*/ready")}
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        runner = Runner(Path(folder), options.repeat, peers)
        for name in options.only:
            print(f"{name}: {(SUITES[name].__doc__ or '').splitlines()[0]}", file=sys.stderr)
            for row in SUITES[name](runner):
                rows.append(row)
                print(f"  -> {describe(row)}", file=sys.stderr)
    print(table(rows))
    missed = [row.what for row in rows if row.kept is False]
    for what in missed:
        print(f"not kept: {what}", file=sys.stderr)
    return 1 if missed else 0


def describe(row: Row) -> str:
    figures = ", ".join(f"{system}: {figure}" for system, figure in row.figures.items())
    verdict = {True: f" — {row.promise}: kept", False: f" — {row.promise}: NOT KEPT", None: ""}[row.kept]
    return f"{row.what}: {figures}{verdict}"


def table(rows: list[Row]) -> str:
    """Return all rows as a Markdown table with a column for each measured system."""
    systems = list(dict.fromkeys(system for row in rows for system in row.figures))
    lines = [
        f"Python {platform.python_version()}, {os.cpu_count()} processors",
        "",
        "| work | " + " | ".join(systems) + " | promise | kept |",
        "|---|" + "---|" * (len(systems) + 2),
    ]
    for row in rows:
        cells = [row.figures.get(system, "") for system in systems]
        kept = {True: "yes", False: "**no**", None: ""}[row.kept]
        lines.append("| " + " | ".join([row.what, *cells, row.promise, kept]) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

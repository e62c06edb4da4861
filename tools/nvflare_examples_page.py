"""Write docs/nvflare-examples.md from results of ``tools/nvflare_examples.py``.

Usage: nvflare_examples_page.py FLARE.json NVFLARE.json [RELEASE=FLARE.json ...]

FLARE.json has the results of 2.7.2's examples on Flare, NVFLARE.json those on NVIDIA FLARE itself, and the others those
of examples of other releases on Flare.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from nvflare_example_list import EXAMPLES, NOTES

PAGE = Path(__file__).resolve().parent.parent / "docs" / "nvflare-examples.md"
ABSENT = "not in this checkout"

INTRODUCTION = """\
# Examples of NVIDIA FLARE, run on Flare

Results of the examples of NVIDIA FLARE 2.7.2 that need no download, run unmodified on
[flare-nvflare](../packages/flare-nvflare/README.md) and on NVIDIA FLARE itself. The data are synthetic: a shim provides
images of ten classes instead of CIFAR-10 and MNIST, and tables are generated where the examples look for theirs.
`tools/nvflare_examples.py` runs the examples, and `tools/nvflare_examples_page.py` writes this page.
[Migrating](migration.md) lists the differences.

The metric is that of the last round, as the example reports it (some accuracies are in percent), or a number in its
results. Most examples set no seed, so the accuracy of a short training differs from run to run. Seconds are wall time
from start to exit, on two cores that other programs used at the same time: they show orders of magnitude only.
An example that "hangs" was stopped at the limit, which was 300 seconds on NVIDIA FLARE.
"""

Rows = dict[str, dict[str, Any]]


def main() -> None:
    flare, peer = (_read(each) for each in sys.argv[1:3])
    others = {name: _read(file) for name, _, file in (each.partition("=") for each in sys.argv[3:])}
    parts = [INTRODUCTION, _counts({"2.7.2": flare, **others}), _table(flare, peer), _failures(flare, others)]
    if waiting := [name for name in EXAMPLES if not any(name in rows for rows in (flare, *others.values()))]:
        parts.append(f"Not run for this page: {', '.join(waiting)}.\n")
    notes = [f"- {name}: {NOTES[name]}" for name in flare if name in NOTES]
    if notes:
        parts.append("## Where the two differ\n\n" + "\n".join(notes) + "\n")
    PAGE.write_text("\n".join(part for part in parts if part))


def _read(file: str) -> Rows:
    """Return the results of the examples that the list still has, and that the checkout had."""
    rows = json.loads(Path(file).read_text())
    return {name: rows[name] for name in EXAMPLES if rows.get(name, {"outcome": ABSENT})["outcome"] != ABSENT}


def _counts(releases: dict[str, Rows]) -> str:
    lines = [
        "| examples of | run on Flare | with the expected value, if any | other |",
        "|---|---|---|---|",
    ]
    for release, rows in releases.items():
        right = [row["outcome"] for row in rows.values()].count("runs")
        lines.append(f"| {release} | {len(rows)} | {right} | {len(rows) - right} |")
    return "\n".join(lines) + "\n"


def _table(flare: Rows, peer: Rows) -> str:
    head = ["| example | metric | Flare | NVIDIA FLARE | Flare, s | NVIDIA FLARE, s |", "|---|---|---|---|---|---|"]
    lines = []
    for name, row in flare.items():
        other = peer.get(name, {})
        metric = row["metric"] or "none"
        lines.append(f"| {name} | {metric} | {_value(row)} | {_value(other)} | {_seconds(row)} | {_seconds(other)} |")
    return "\n".join([*head, *lines]) + "\n"


def _value(row: dict[str, Any]) -> str:
    if not row:
        return "not run"
    if row["outcome"] in ("refused", "hangs", "no results"):
        return row["outcome"]
    return "runs" if row["value"] is None else f"{row['value']:.4g}"


def _seconds(row: dict[str, Any]) -> str:
    return f"{row['seconds']:.0f}" if row and row["outcome"] != "refused" else ""


def _failures(flare: Rows, others: dict[str, Rows]) -> str:
    lines = []
    for release, rows in {"2.7.2": flare, **others}.items():
        for name, row in rows.items():
            if row["outcome"] != "runs":
                lines.append(f"- {name} of {release}: {row['outcome']}. {row['reason']}".rstrip())
    return "## Other outcomes on Flare\n\n" + "\n".join(lines) + "\n" if lines else ""


if __name__ == "__main__":
    main()

"""Run the examples of NVIDIA FLARE, unmodified, on Flare or on NVIDIA FLARE itself, and print a table.

The examples are those of a checkout that the environment variable NVFLARE_CHECKOUT names; no file of it is changed.
Their data are synthetic, since nothing is downloaded; ``tools/nvflare_shims`` stands in for torchvision, for the
data sets of Keras, and for the downloads of scikit-learn. Data and results go where the examples look for them, below
/tmp/nvflare and /tmp/flare.

Usage: nvflare_examples.py [--python PATH] [--json FILE] [NAME ...]

--python: the interpreter; that of another environment runs the examples there, so that both can be compared.
--json: a file of results; those of examples that it has already are replaced.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from nvflare_example_list import EXAMPLES
from nvflare_example_runs import Row, run

VARIABLE = "NVFLARE_CHECKOUT"


def line(row: Row) -> str:
    """Return an example's line of the table."""
    metric = "" if row.value is None else f"{row.metric} {row.value:.4g}"
    seconds = "" if row.seconds is None else f"{row.seconds} s"
    return f"| {row.example} | {row.outcome} | {metric} | {seconds} | {row.reason} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(EXAMPLES)}")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if VARIABLE not in os.environ:
        raise SystemExit(f"set {VARIABLE} to the folder of a checkout, which has a folder 'examples'")
    if unknown := [name for name in given.names if name not in EXAMPLES]:
        raise SystemExit(f"there is no example {unknown[0]!r}; there are {', '.join(EXAMPLES)}")
    rows = json.loads(given.json.read_text()) if given.json and given.json.exists() else {}
    for name in given.names or EXAMPLES:
        row = run(name, EXAMPLES[name], Path(os.environ[VARIABLE]), given.python)
        print(line(row), flush=True)
        rows[name] = asdict(row)
        if given.json:
            given.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()

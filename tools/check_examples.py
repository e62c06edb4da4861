"""Run every example as its README shows, in a copy of its folder, and compare the output.

A README shows each run as a fenced block:

    ```console
    $ python job.py
    the output
    ```

The printed lines must be the same, except for numbers, digests, run folders and plots. A comment in the README sets a
bound for a number:

    <!-- at least 0.9: accuracy on 360 digits -->
    <!-- at most 0.1: largest error -->

A run that takes minutes, and shows one more of a kind, has the comment <!-- at length --> in the line above it; it is
made only with FLARE_SLOW_TESTS in the environment.

The cells of a notebook are run as well, and compared in the same way with the outputs that it holds.

Usage: check_examples.py [folder or notebook ...], by default all below examples/ that contain a job.py, and all
notebooks there, but for those that have environments of their own.
"""

from __future__ import annotations

import difflib
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from shutil import copytree, ignore_patterns

from notebooks import CellFailedError, executed, printed, read

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(
    r"(?P<long>^<!-- at length -->\n)?^```console\n\$ python (?P<command>[^\n]+)\n(?P<output>.*?)^```",
    re.MULTILINE | re.DOTALL,
)
BAR = re.compile(r"<!-- at (?P<side>least|most) (?P<value>[\d.]+): (?P<label>[^\n]+?) -->")
NUMBER = re.compile(r"(?<![\w.])-?\d+(\.\d+)?(e-?\d+)?")
DIGEST = re.compile(r"\b[0-9a-f]{16}\b")
PLOT = re.compile(r"[┤└]|^ +\d+ +\d+$")
TIMEOUT_S = 300
ADVANCED = ROOT / "examples" / "advanced"
# These have environments of their own: nox -s flower, nox -s executorch, nox -s monai.
APART = {ADVANCED / "flower", ADVANCED / "edge" / "edge-executorch", ADVANCED / "monai"}


def main(arguments: list[str]) -> int:
    chosen = [Path(argument).resolve() for argument in arguments]
    found = (path for path in ROOT.glob("examples/**/job.py") if not APART & set(path.parents))
    chosen = chosen or [*sorted(path.parent for path in found), *sorted(ROOT.glob("examples/**/*.ipynb"))]
    checks = (check_notebook(path) if path.suffix == ".ipynb" else check(path) for path in chosen)
    failures = [failure for problems in checks for failure in problems]
    for failure in failures:
        print(f"\n{failure}", file=sys.stderr)
    print(f"{len(chosen)} examples, {len(failures)} problems")
    return 1 if failures else 0


def check(folder: Path) -> list[str]:
    """Run the commands of one example; return the problems."""
    name = folder.relative_to(ROOT)
    readme = folder / "README.md"
    if not readme.is_file():
        return [f"{name}: README.md is missing"]
    text = readme.read_text(encoding="utf-8")
    blocks = list(BLOCK.finditer(text))
    if not any(block["command"] == "job.py" for block in blocks):
        return [f"{name}/README.md does not show '$ python job.py' and its output"]
    problems: list[str] = []
    output_of_all = ""
    with tempfile.TemporaryDirectory() as elsewhere:
        place = Path(elsewhere, folder.name)
        copytree(folder, place, ignore=ignore_patterns("flare-runs", "__pycache__"))
        for block in blocks:
            if block["long"] and "FLARE_SLOW_TESTS" not in os.environ:
                output_of_all += block["output"]
                print(f"{name}: python {block['command']}: not run, set FLARE_SLOW_TESTS=1", flush=True)
                continue
            began = time.monotonic()
            code, output = run(block["command"].split(), place)
            print(f"{name}: python {block['command']}: exit code {code}, {time.monotonic() - began:.1f} s", flush=True)
            output_of_all += output
            if code != 0:
                problems.append(f"{name}: python {block['command']} ended with exit code {code}:\n{output}")
            elif difference := differences(block["output"], output):
                problems.append(f"{name}: python {block['command']} prints other lines than README.md:\n{difference}")
    return problems + [f"{name}: {problem}" for problem in missed_bars(text, output_of_all)]


def check_notebook(path: Path) -> list[str]:
    """Run the cells of one notebook; return the problems."""
    name = path.relative_to(ROOT)
    began = time.monotonic()
    try:
        cells = executed(path)["cells"]
    except CellFailedError as error:
        return [f"{name}: {error}"]
    print(f"{name}: {len(cells)} cells, {time.monotonic() - began:.1f} s", flush=True)
    stored = read(path)["cells"]
    problems = []
    for number, (before, after) in enumerate(zip(stored, cells, strict=True), 1):
        if difference := differences(printed(before), printed(after), name=path.name):
            problems.append(
                f"{name}: cell {number} prints other lines than it holds; 'python tools/notebooks.py {name}' stores "
                f"them, if they are right:\n{difference}"
            )
    return problems


def run(command: list[str], folder: Path) -> tuple[int, str]:
    environment = {key: value for key, value in os.environ.items() if key != "FLARE_WORKSPACE"}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_S,
    )
    return done.returncode, done.stdout


def differences(expected: str, found: str, name: str = "README.md") -> str:
    """Return a diff of the lines with their variable parts masked; empty if they match."""
    return "\n".join(difflib.unified_diff(shape(expected), shape(found), name, "printed", lineterm="", n=1))


def shape(text: str) -> list[str]:
    """Return the lines with numbers and folders masked, without plots and empty lines."""
    lines = (re.sub(r"\S*flare-runs\S*", "FOLDER", line) for line in text.splitlines())
    return [
        re.sub(r"\s+", " ", NUMBER.sub("#", DIGEST.sub("#", line))).strip()
        for line in lines
        if line.strip() and not PLOT.search(line)
    ]


def missed_bars(readme: str, printed: str) -> list[str]:
    """Return the README's bounds that the printed numbers violate."""
    bars = list(BAR.finditer(readme))
    if not bars:
        return ["README.md sets no bound for a number; add a comment such as <!-- at least 0.9: accuracy on -->"]
    problems = []
    for bar in bars:
        lines = [line for line in printed.splitlines() if bar["label"] in line]
        numbers = NUMBER.search(lines[-1].rpartition(":")[2]) if lines else None
        if numbers is None:
            problems.append(f"no line with '{bar['label']}: <number>' was printed")
            continue
        value, wanted = float(numbers[0]), float(bar["value"])
        if not (value >= wanted if bar["side"] == "least" else value <= wanted):
            problems.append(f"'{bar['label']}' is {value}, not at {bar['side']} {wanted}")
    return problems


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

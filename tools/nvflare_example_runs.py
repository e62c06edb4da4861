"""Runs of the examples of NVIDIA FLARE, each in a copy of its folder, and the metric at the end of each."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from nvflare_example_data import RESULTS, SHIMS, Prepare

LIMIT_S = 600
_REPORTED = r"validation metric ([-\d.e]+) from client ([\w-]+)"  # NVIDIA FLARE's own log
_ERROR = re.compile(r"^[\w.]*(Error|Failed|Exception|Exit)\b|^error:")


@dataclass(frozen=True)
class Example:
    """An example: its folder in the checkout, its arguments, and where its result is.

    Attributes:
        folder: below ``examples``.
        job: the name of its job, and so of the folder of its results; a pattern, or ``*`` for the newest.
        arguments: of the program.
        program: its file, or ``-m`` if the arguments begin with a module.
        prepare: makes its data.
        metric: the name of the final metric.
        pattern: what precedes it in the output of the example, if it is not one that sites report.
        stored: a pattern of files with the metric, below the results or the example's folder; their mean counts.
        read: reads it from such a file.
        expected: the range of the metric.
        before: programs to run first.
        workspace: the folder below which its results are.
        top: the folder that is copied, if the example uses files beside its own.
        beside: folders below the copy with modules that the example imports.
    """

    folder: str
    job: str = "*"
    arguments: tuple[str, ...] = ()
    program: str = "job.py"
    prepare: Prepare | None = None
    metric: str = "accuracy"
    pattern: str = ""
    stored: str = ""
    read: Callable[[Path], float] | None = None
    expected: tuple[float, float] | None = None
    before: tuple[str, ...] = ()
    workspace: Path = RESULTS
    top: str = ""
    beside: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """An example's outcome.

    Attributes:
        outcome: ``runs``, ``refused``, ``hangs``, ``no results``, ``wrong metric`` or ``not in this checkout``.
        value: the final metric, if there is one.
        reason: the error of a run that has failed.
        output: the end of what was printed.
    """

    example: str
    outcome: str
    metric: str = ""
    value: float | None = None
    seconds: float | None = None
    reason: str = ""
    output: str = ""


def run(name: str, example: Example, checkout: Path, python: str) -> Row:
    """Run one example in a copy of its folder."""
    source = checkout / "examples" / example.folder
    if not (source if example.program == "-m" else source / example.program).exists():
        return Row(name, "not in this checkout")
    with tempfile.TemporaryDirectory() as place:
        top = checkout / "examples" / example.top if example.top else source
        shutil.copytree(top, Path(place) / top.name)
        folder = Path(place) / top.name / source.relative_to(top)
        if example.prepare is not None:
            example.prepare(folder)
        results = example.workspace / example.job
        for older in results.parent.glob(results.name) if example.job != "*" else ():
            shutil.rmtree(older)
        environment = _environment([folder, *(Path(place) / top.name / each for each in example.beside)])
        for each in example.before:
            subprocess.run([python, each], cwd=folder, env=environment, check=True, capture_output=True)
        began, stamp = time.monotonic(), time.time()
        code, output = _execute([python, example.program, *example.arguments], folder, environment)
        seconds = round(time.monotonic() - began, 1)
        if code is None:
            return Row(name, "hangs", seconds=LIMIT_S, output=output[-6000:])
        found = [path for path in _results(example, results, stamp) if path.exists()]
        places = [*found, *([] if example.job != "*" else [folder])]
        try:
            value, problem = _metric(example, places, output), ""
        except (LookupError, TypeError, ValueError) as error:  # results of another form than expected
            value, problem = None, f"the results cannot be read: {error!r}"
    row = Row(name, "runs", example.metric, value, seconds, problem, output[-6000:])
    if code != 0:
        return replace(row, outcome="refused", reason=_reason(output, code))
    if not found and not example.stored:
        return replace(row, outcome="no results", reason=f"{results} was not made")
    return row if _is_right(example, value) else replace(row, outcome="wrong metric")


def _is_right(example: Example, value: float | None) -> bool:
    if not example.metric or value is None:
        return not example.metric
    low, high = example.expected or (float("-inf"), float("inf"))
    return low <= value <= high


def missing_package(row: Row) -> str:
    """Return the package that an example needs and that is not installed, if that is why it was refused."""
    found = re.search(
        r"^ModuleNotFoundError: No module named '([\w.]+)'|in another package; pip install (\S+)", row.reason
    )
    return (found[1] or found[2]) if found else ""


def _environment(folders: list[Path]) -> dict[str, str]:
    """Return the environment of an example, with folders of its modules and the shims on the import path."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, [*folders, SHIMS])),
        "PYTHONWARNINGS": "default::DeprecationWarning:__main__",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "WANDB_MODE": "offline",
        "MPLBACKEND": "agg",
    }


def _execute(command: list[str], folder: Path, environment: dict[str, str]) -> tuple[int | None, str]:
    """Run a program; return its exit code, None if it hangs, and what it has printed."""
    with tempfile.TemporaryFile("w+", errors="replace") as printed:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=printed, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code: int | None = process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # the session that was started above, and nothing else
            process.wait()
            code = None
        printed.seek(0)
        return code, re.sub(r"\x1b\[\d+m", "", printed.read())


def _reason(output: str, code: int) -> str:
    """Return the line of an output that says why a run has failed."""
    errors = [line for line in output.splitlines() if _ERROR.search(line)]
    return errors[-1][:300] if errors else f"exit code {code}"


def _results(example: Example, results: Path, began: float) -> list[Path]:
    """Return the folders of the results."""
    if example.job != "*":
        return list(results.parent.glob(results.name))
    found = (path for depth in ("*", "*/*", "*/*/*", "*/*/*/*") for path in results.parent.glob(f"{depth}/server"))
    newest = sorted((each.lstat().st_mtime, each.parent) for each in found if each.lstat().st_mtime >= began - 1)
    return [newest[-1][1]] if newest else []


def _metric(example: Example, places: list[Path], output: str) -> float | None:
    """Return the final metric: from a file, from Flare's summary, or from what was printed."""
    if example.read is not None:
        values = [example.read(path) for place in places for path in sorted(place.glob(example.stored))]
        return sum(values) / len(values) if values else None
    if example.pattern and (value := _printed(example.pattern, places, output)) is not None:
        return value
    for place in places:
        if (place / "summary.json").is_file():
            metrics = json.loads((place / "summary.json").read_text()).get("metrics", {})
            if example.metric in metrics:
                return float(metrics[example.metric])
    last = {site: float(value) for value, site in re.findall(_REPORTED, output)}
    return sum(last.values()) / len(last) if last else None


def _printed(pattern: str, places: list[Path], output: str) -> float | None:
    """Return the mean over the sites of the last number after a pattern, or the last one of all."""
    regex = re.compile(rf"{pattern}\s*(?:np\.float64\()?(-?\d+(?:\.\d+)?(?:e-?\d+)?)")
    found = []
    for log in sorted({path.resolve() for place in places for path in place.glob("site*/log.txt")}):
        if values := regex.findall(log.read_text(errors="replace")):
            found.append(float(values[-1]))
    if not found and (values := regex.findall(output)):
        found.append(float(values[-1]))
    return sum(found) / len(found) if found else None

"""The record of a run: metrics.jsonl while it goes on, summary.json at its end."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flare_core.files import naming, write_text
from flare_runtime.run.folder import RunFolder

_MOST_BITS = 4096  # Python does not write integers that are much longer
_NOT_FINITE = {"nan", "inf", "-inf"}


class LineFile:
    """Appends JSON objects to a file, one a line; errors name the file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("ab")

    def write(self, row: Mapping[str, Any]) -> None:
        """Append one line."""
        line = f"{encode(row)}\n".encode()
        with naming(self._path):
            self._file.write(line)

    def flush(self) -> int:
        """Hand what was written to the operating system; return the file's length."""
        with naming(self._path):
            self._file.flush()
        return os.fstat(self._file.fileno()).st_size

    def cut(self, length: int) -> None:
        """Forget what was written after the file had that length."""
        self._file.flush()
        os.ftruncate(self._file.fileno(), length)

    def close(self) -> None:
        """Write out what is buffered."""
        with naming(self._path):
            self._file.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a metrics file; a line that a crash cut short is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def number_of(value: Any) -> Any:
    """A recorded value as it was: ``"nan"``, ``"inf"`` and ``"-inf"``, which JSON has no numbers for, become floats."""
    return float(value) if isinstance(value, str) and value in _NOT_FINITE else value


def write_summary(path: Path, summary: Mapping[str, Any]) -> None:
    """Write a run's summary, whole or not at all: a line for each entry, as one can have thousands of rounds.

    What JSON has no form for, such as NaN, is written as text.
    """
    lines = [f"  {json.dumps(str(key))}: {encode(value)}" for key, value in summary.items()]
    write_text(path, "{\n" + ",\n".join(lines) + "\n}\n")


def read_summary(folder: RunFolder) -> dict[str, Any]:
    """Read a run's summary, whose paths are where the files are now, as the folder may have been moved.

    Raises:
        FileNotFoundError: there is none, as the run goes on or its process was killed.
        ValueError: it is no summary; names the file.
    """
    try:
        summary = json.loads(folder.summary.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{folder.summary} is no JSON ({error})") from error
    if not isinstance(summary, dict):
        raise ValueError(f"{folder.summary} holds a {type(summary).__name__} where an object is expected")
    return {**summary, **folder.places()}


def encode(value: Any) -> str:
    """Return a value as one line of JSON; what JSON has no form for becomes text."""
    return json.dumps(strict(value), allow_nan=False)


def strict(value: Any) -> Any:
    """A value with all that it holds in forms that JSON has."""
    if isinstance(value, Mapping):
        return {str(key): strict(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [strict(inner) for inner in value]
    return _plain(value)


def _plain(value: Any) -> Any:
    """A value that JSON has: numbers that are not finite become text."""
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        return f"a whole number of {value.bit_length()} bits"
    if isinstance(value, bool | int | str) or value is None:
        return value
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return str(value)
    return number if math.isfinite(number) else str(number)

"""Examples from a CSV file, read as the browser's page reads it.

The first line may name the columns; it does if a field of it is no number. Every other field is a number, but that of
the target may be one of the labels. Fields are separated by commas, semicolons or tabs: by that of the three which
stands first in the first line. Empty lines are left out.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from flare_edge.device.data.examples import Examples
from flare_edge.errors import EdgeError


@dataclass(frozen=True)
class Table:
    """The layout of a table: ``data`` in a device's configuration.

    Args:
        target: the name of the column to predict, of a file that names its columns; the last column if None.
        columns: the names of the inputs, in order; all others than the target, in the file's order, if empty.
        labels: the names of the classes, in order. If empty, classes are numbers from 0.
        scale: the inputs are divided by it.
        values: the target is a number to predict, not a class.
    """

    target: str | None = None
    columns: Sequence[str] = ()
    labels: Sequence[str] = field(default=())
    scale: float = 1.0
    values: bool = False


def table_from(config: Mapping[str, Any]) -> Table:
    """Return the layout that a device's configuration describes, see :mod:`flare_edge.device.programs`."""
    data = config.get("data", {})
    program = config.get("program", {})
    values = program.get("kind") == "linear" or program.get("loss") == "squared_error"
    return Table(
        target=data.get("target"),
        columns=tuple(data.get("columns", ())),
        labels=tuple(str(each) for each in data.get("labels", ())),
        scale=float(data.get("scale", 1.0)),
        values=values,
    )


def read_csv(path: Path, table: Table = Table()) -> Examples:
    """Return the examples of a CSV file.

    Raises:
        EdgeError: the file has no rows, lacks a column, or a field is not a number; names line and column.
    """
    text = path.read_text(encoding="utf-8-sig")
    first = text.partition("\n")[0]
    places = {mark: first.find(mark) for mark in ",;\t" if mark in first}
    separator = min(places, key=lambda mark: places[mark], default=",")
    reader = csv.reader(text.splitlines(), delimiter=separator)
    lines = [(reader.line_num, [each.strip() for each in row]) for row in reader]
    lines = [(number, row) for number, row in lines if any(row)]
    if not lines:
        raise EdgeError(f"{path} is empty; it needs a line for each example")
    names = [] if all(_is_number(each) for each in lines[0][1]) else lines.pop(0)[1]
    if names and len(lines) == 0:
        raise EdgeError(f"{path} has a line of names, and no examples below it")
    width = len(names or lines[0][1])
    target, inputs = _places(path, names, width, table)
    xs = np.empty((len(lines), len(inputs)), np.float32)
    ys: list[float] = []
    for row, (number, fields) in enumerate(lines):
        if len(fields) != width:
            raise EdgeError(f"{path}, line {number}: {len(fields)} fields; the first line has {width}")
        for place, column in enumerate(inputs):
            xs[row, place] = _number(path, number, column, names, fields[column])
        ys.append(_target(path, number, target, names, fields[target], table))
    if table.scale != 1.0:
        xs /= np.float32(table.scale)
    targets = np.array(ys, np.float32).reshape(-1, 1) if table.values else np.array(ys, np.int64)
    return Examples(xs, targets)


def _places(path: Path, names: list[str], width: int, table: Table) -> tuple[int, list[int]]:
    if not names:
        return width - 1, list(range(width - 1))
    for name in (*table.columns, *([table.target] if table.target is not None else [])):
        if name not in names:
            raise EdgeError(f"{path} has no column {name!r}; it has {', '.join(names)}")
    target = width - 1 if table.target is None else names.index(table.target)
    if table.columns:
        return target, [names.index(each) for each in table.columns]
    return target, [place for place in range(width) if place != target]


def _target(path: Path, line: int, column: int, names: list[str], text: str, table: Table) -> float:
    if table.labels:
        if text in table.labels:
            return table.labels.index(text)
        raise EdgeError(f"{path}, line {line}: {text!r} is none of the labels {', '.join(table.labels)}")
    value = _number(path, line, column, names, text)
    if not table.values and (value < 0 or value != int(value)):
        raise EdgeError(f"{path}, line {line}: the class {text} is not a whole number from 0")
    return value


def _number(path: Path, line: int, column: int, names: list[str], text: str) -> float:
    if not _is_number(text):
        name = names[column] if names else f"{column + 1}"
        raise EdgeError(f"{path}, line {line}, column {name}: {text!r} is not a number")
    return float(text)


def _is_number(text: str) -> bool:
    """Return if the text is a finite decimal number; float() would also read ``nan``, ``1_000`` and the like."""
    if not text or not set(text) <= set("0123456789+-.eE"):
        return False
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False

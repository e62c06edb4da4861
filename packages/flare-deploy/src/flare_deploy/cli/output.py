"""Output of commands: tables and lines for people, or a JSON document for programs."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer

from flare_runtime.terminal import one_line, printable


class Form(StrEnum):
    """The format of a command's output."""

    TEXT = "text"
    JSON = "json"


FormOption = Annotated[Form, typer.Option("--format", help="Text, or JSON as described by 'flare schema'.")]


def show(form: Form, values: Mapping[str, Any] | Sequence[Any], text: str) -> None:
    """Print ``values`` as JSON, or ``text``."""
    if form is Form.JSON:
        sys.stdout.write(json.dumps(values, indent=2, default=str) + "\n")
    elif text:
        sys.stdout.write(printable(text).rstrip("\n") + "\n")


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, empty: str) -> str:
    """Return rows as text in aligned columns; ``empty`` if there are none."""
    if not rows:
        return empty
    cells = [[str(column).upper() for column in columns], *([one_line(str(cell)) for cell in row] for row in rows)]
    widths = [max(len(row[index]) for row in cells) for index in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def ago(since: float | None) -> str:
    """Return the time since a moment, in its largest unit."""
    if since is None:
        return "-"
    seconds = max(0.0, time.time() - since)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def moment(at: float | None) -> str:
    """Return a moment in local time."""
    return "-" if at is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))

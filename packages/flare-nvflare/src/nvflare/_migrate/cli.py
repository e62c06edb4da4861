"""The command ``flare migrate``."""

from __future__ import annotations

import difflib
import json
import sys
import textwrap
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

_WIDTH = 100
_INDENT = " " * 14


def migrate(
    path: Annotated[Path, typer.Argument(help="A script, a job folder, or a folder of them.", exists=True)],
    rewrite: Annotated[
        bool, typer.Option("--rewrite", help="Show the scripts with Flare's own imports, as a diff.")
    ] = False,
    write: Annotated[bool, typer.Option("--write", help="With --rewrite, change the files.")] = False,
    form: Annotated[str, typer.Option("--format", help="The report as text or json.")] = "text",
) -> None:
    """Report which names of NVIDIA FLARE scripts and jobs use, or rewrite the scripts' imports.

    The exit code of the report is 1 if Flare does not provide one of the names.
    """
    if write and not rewrite:
        raise typer.BadParameter("--write needs --rewrite, which shows the changes")
    if rewrite:
        _rewrite(path, write=write)
        return
    rows = _report(path)
    counts = Counter(each["status"] for each in rows)
    if form == "json":
        sys.stdout.write(json.dumps({"names": rows, "counts": counts}, indent=2) + "\n")
    else:
        for each in rows:
            sys.stdout.writelines(f"{line}\n" for line in _lines_of(each))
        shown = ", ".join(f"{counts[kind]} {kind}" for kind in ("same", "adapted", "not provided"))
        sys.stdout.write(f"{_counted(len(rows), 'name')}: {shown}\n")
    if counts["not provided"]:
        raise typer.Exit(1)


def _lines_of(row: dict[str, Any]) -> list[str]:
    """Return the lines for a name: its status, a note that may take lines of its own, and the places."""
    first = f"{row['status']:<13} {row['name']}"
    note = f"({row['note']})" if row["note"] else ""
    if len(first) + 2 + len(note) <= _WIDTH:
        lines = [f"{first}  {note}".rstrip()]
    else:
        lines = [first, *textwrap.wrap(note, _WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT)]
    return [*lines, *(f"{_INDENT}{place}" for place in row["places"])]


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _report(path: Path) -> list[dict[str, Any]]:
    from nvflare._migrate.uses import files_of, uses_in
    from nvflare._migrate.verdicts import verdict_of

    places: dict[str, list[str]] = {}
    root = path if path.is_dir() else path.parent
    for file in files_of(path):
        for use in uses_in(file):
            places.setdefault(use.name, []).append(f"{use.file.relative_to(root)}:{use.line}")
    order = {"not provided": 0, "adapted": 1, "same": 2}
    rows = []
    for name, where in sorted(places.items()):
        verdict = verdict_of(name)
        rows.append({"name": name, "status": verdict.kind.value, "note": verdict.note, "places": where})
    return sorted(rows, key=lambda row: (order[row["status"]], row["name"]))


def _rewrite(path: Path, *, write: bool) -> None:
    from flare_core.files import write_text
    from nvflare._migrate.rewriting import proximal, rewritten
    from nvflare._migrate.uses import files_of

    changed = 0
    texts: dict[Path, str] = {}
    for file in files_of(path):
        try:
            if file.suffix == ".py":
                texts[file] = file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            sys.stdout.write(f"{file}: left as it is: {error}\n")
    is_proximal = proximal(texts.values())
    for file, before in texts.items():
        try:
            after = rewritten(before, is_proximal)
        except SyntaxError as error:
            sys.stdout.write(f"{file}: left as it is: {error}\n")
            continue
        diff = list(
            difflib.unified_diff(
                before.splitlines(keepends=True), after.text.splitlines(keepends=True), str(file), str(file)
            )
        )
        sys.stdout.writelines(diff)
        for line, note in after.notes:
            sys.stdout.write(f"{file}:{line}: {note}\n")
        if diff:
            changed += 1
            if write:
                write_text(file, after.text)
    done = "changed" if write else "would change; --write changes them" if changed else "would change"
    sys.stdout.write(f"{_counted(changed, 'file')} {done}\n")

"""The command ``flare migrate``."""

from __future__ import annotations

import difflib
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer


def migrate(
    path: Annotated[Path, typer.Argument(help="A script, a job folder, or a folder of them.", exists=True)],
    rewrite: Annotated[
        bool, typer.Option("--rewrite", help="Show the scripts with native imports, as a diff.")
    ] = False,
    write: Annotated[bool, typer.Option("--write", help="With --rewrite, change the files.")] = False,
    form: Annotated[str, typer.Option("--format", help="text or json.")] = "text",
) -> None:
    """Report what scripts and jobs use of NVIDIA FLARE, and rewrite their imports.

    Exits with 1 if they use a name that Flare does not provide.
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
            note = f"  ({each['note']})" if each["note"] else ""
            sys.stdout.write(f"{each['status']:<13} {each['name']}{note}\n")
            for place in each["places"]:
                sys.stdout.write(f"{'':<13} {place}\n")
        shown = ", ".join(f"{counts[kind]} {kind}" for kind in ("same", "adapted", "not provided"))
        sys.stdout.write(f"{len(rows)} names: {shown}\n")
    if counts["not provided"]:
        raise typer.Exit(1)


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
    from nvflare._migrate.rewriting import rewritten
    from nvflare._migrate.uses import files_of

    changed = 0
    for file in files_of(path):
        if file.suffix != ".py":
            continue
        try:
            before = file.read_text(encoding="utf-8")
            after = rewritten(before)
        except (UnicodeDecodeError, SyntaxError) as error:
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
    done = "changed" if write else "would change; --write changes them"
    sys.stdout.write(f"{changed} files {done}\n")

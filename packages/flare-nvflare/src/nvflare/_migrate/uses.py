"""The names of NVIDIA FLARE that files use, with the lines."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nvflare._flare.names import THEIRS

_CONFIG = {".json", ".conf", ".yml", ".yaml"}
_PATH = re.compile(r"(?<![/.@\w-])(?:monai_)?nvflare(?!\.readthedocs\b|\._)(?:\.[A-Za-z_][A-Za-z0-9_]*)+")
_LEFT_OUT = {"__pycache__", ".git", ".venv", "node_modules"}


@dataclass(frozen=True, slots=True, order=True)
class Use:
    """A name that a file uses.

    Args:
        file: the file.
        line: the line, from 1.
        name: the full name.
    """

    file: Path
    line: int
    name: str


def files_of(path: Path) -> list[Path]:
    """Return the scripts, notebooks and configuration files of a folder, or the file itself."""
    if path.is_file():
        return [path]
    found = (each for each in path.rglob("*") if each.is_file() and not _LEFT_OUT & set(each.parts))
    return sorted(each for each in found if each.suffix in {".py", ".ipynb", *_CONFIG})


def uses_in(file: Path) -> list[Use]:
    """Return the names that a file uses, in the order of the lines; none if it cannot be read as text."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return []
    if file.suffix == ".py":
        found = _of_python(text)
    elif file.suffix == ".ipynb":
        found = _of_notebook(text)
    else:
        found = _of_config(text)
    return sorted({Use(file, line, name) for line, name in found})


def _of_python(text: str) -> Iterator[tuple[int, str]]:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return
    modules: dict[str, str] = {}  # what a name in the file stands for
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for each in node.names:
                if _is_theirs(each.name):
                    top = each.name.partition(".")[0]
                    modules[each.asname or top] = each.name if each.asname else top
                    yield node.lineno, each.name
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and _is_theirs(node.module or ""):
            for each in node.names:
                yield node.lineno, str(node.module) if each.name == "*" else f"{node.module}.{each.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and (chain := _chain(node)) and chain[0] in modules:
            yield node.lineno, ".".join([modules[chain[0]], *chain[1:]])
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _PATH.fullmatch(node.value):
            yield node.lineno, node.value


def _of_notebook(text: str) -> Iterator[tuple[int, str]]:
    try:
        cells = json.loads(text)["cells"]
        sources = ["".join(each["source"]) for each in cells if each["cell_type"] == "code"]
    except (ValueError, KeyError, TypeError):
        return
    for number, source in enumerate(sources, 1):
        plain = "\n".join(line for line in source.splitlines() if not line.lstrip().startswith(("%", "!")))
        for _, name in _of_python(plain):
            yield number, name  # the number of the cell


def _of_config(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.lstrip().startswith("#"):
            yield from ((number, name) for name in _PATH.findall(line))


def _chain(node: ast.expr) -> list[str]:
    """Return the names of ``a.b.c``, or nothing if it begins with something else."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.insert(0, node.attr)
        node = node.value
    return [node.id, *names] if isinstance(node, ast.Name) else []


def _is_theirs(module: str) -> bool:
    return module.partition(".")[0] in THEIRS

"""Count the packages' lines, public names, dependencies, and sizes of modules and functions.

Usage: tools/census.py [--rev REVISION] prints a Markdown table for the working tree, or for a revision of it.

Lines of code exclude blank lines, comments and docstrings. Public names are those in the ``__all__`` of a package's
``__init__.py`` files. Sizes of modules and functions count all lines.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import statistics
import subprocess
import sys
import tarfile
import tempfile
import tokenize
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(slots=True)
class Census:
    """The counts of one package."""

    lines: int = 0
    tests: int = 0
    names: int = 0
    dependencies: tuple[str, ...] = ()
    modules: list[tuple[int, str]] = field(default_factory=list)
    functions: list[tuple[int, str]] = field(default_factory=list)


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/census.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rev", help="a revision instead of the working tree")
    options = parser.parse_args()
    if options.rev is None:
        print(table(ROOT))
        return 0
    archive = subprocess.run(
        ["git", "archive", options.rev, "packages"], cwd=ROOT, capture_output=True, check=True
    ).stdout
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
        print(table(Path(folder)))
    return 0


def table(root: Path) -> str:
    """Return a Markdown table with a row for each package and one for the total."""
    found = {path.name: census(path) for path in sorted((root / "packages").iterdir())}
    total = Census(
        sum(each.lines for each in found.values()),
        sum(each.tests for each in found.values()),
        sum(each.names for each in found.values()),
        tuple(sorted({name for each in found.values() for name in each.dependencies})),
        [module for each in found.values() for module in each.modules],
        [function for each in found.values() for function in each.functions],
    )
    lines = [
        "| package | code | tests | public names | needs | modules: number, median, largest |"
        " functions: number, median, largest |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, each in [*found.items(), ("all", total)]:
        needs = str(len(each.dependencies)) if each is total else ", ".join(each.dependencies) or "nothing"
        lines.append(
            f"| {name} | {each.lines:,} | {each.tests:,} | {each.names} | {needs} |"
            f" {sizes(each.modules)} | {sizes(each.functions)} |"
        )
    return "\n".join(lines)


def sizes(found: list[tuple[int, str]]) -> str:
    largest, name = max(found)
    return f"{len(found):,}, {statistics.median(size for size, _ in found):g}, {largest} ({name})"


def census(package: Path) -> Census:
    source = package / "src"
    result = Census(dependencies=dependencies(package / "pyproject.toml"))
    for path in sorted(source.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        result.lines += len(code_lines(text, tree))
        place = path.relative_to(source)
        if text.strip():
            result.modules.append((text.count("\n"), "/".join(place.parts[1:])))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                size = (node.end_lineno or node.lineno) - node.lineno + 1
                result.functions.append((size, f"{place.stem}.{node.name}"))
        if path.name == "__init__.py":
            result.names += len(exported(tree))
    for path in sorted((package / "tests").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        result.tests += len(code_lines(text, ast.parse(text)))
    return result


def code_lines(text: str, tree: ast.Module) -> set[int]:
    """Return the numbers of the lines that contain code."""
    passed = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in passed:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                lines.difference_update(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    return lines


def exported(tree: ast.Module) -> list[str]:
    """Return the names in ``__all__``."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(to, ast.Name) and to.id == "__all__" for to in node.targets):
            return [each.value for each in getattr(node.value, "elts", []) if isinstance(each, ast.Constant)]
    return []


def dependencies(path: Path) -> tuple[str, ...]:
    """Return a package's third-party dependencies, without extras."""
    project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    names = [re.split(r"[^A-Za-z0-9_.-]", line)[0].lower() for line in project.get("dependencies", [])]
    return tuple(sorted(name for name in names if not name.startswith("flare-")))


if __name__ == "__main__":
    sys.exit(main())

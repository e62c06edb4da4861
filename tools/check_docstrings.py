"""Check that what is public says what it does, what it takes and what it raises.

Public is what the ``__all__`` of a package's ``__init__.py`` names, of folders within it too, and the public methods of
those classes. Each has a docstring that begins with one sentence. Besides:

- whoever takes three arguments or more says what each is: its name stands in the docstring, for those of ``__init__``
  and a dataclass's fields in that of the class or of a class that it derives from. "Those of :func:`…`" and "as for"
  refer to another docstring; what is "made by" something is not made by users;
- whoever raises an error of ours says so: the docstring names it, or an error that it is a kind of, below ``Raises:``.

A method without a docstring is described where it is declared: by a base class, or a protocol.
Usage: check_docstrings.py
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

ROOT = Path(__file__).resolve().parent.parent
FEW = 2  # arguments that a signature and a sentence explain
Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(slots=True)
class Source:
    """What the packages' files hold.

    Attributes:
        trees: by path.
        public: by the name of a package, the names that its ``__init__.py`` files export.
        classes: by package and name.
    """

    trees: dict[Path, ast.Module] = field(default_factory=dict)
    public: dict[str, set[str]] = field(default_factory=dict)
    classes: dict[tuple[str, str], ast.ClassDef] = field(default_factory=dict)

    @classmethod
    def read(cls) -> Source:
        source = cls()
        for path in sorted(ROOT.glob("packages/*/src/**/*.py")):
            tree = source.trees[path] = ast.parse(path.read_text(encoding="utf-8"))
            if path.name == "__init__.py":
                source.public.setdefault(package_of(path), set()).update(exported(tree))
            source.classes |= {
                (package_of(path), node.name): node for node in tree.body if isinstance(node, ast.ClassDef)
            }
        return source

    def line(self, package: str, name: str) -> Iterator[ast.ClassDef]:
        """A class, and the classes of ours that it derives from."""
        node = self.classes.get((package, name)) or next((c for (_, n), c in self.classes.items() if n == name), None)
        if node is not None:
            yield node
            for base in node.bases:
                if isinstance(base, ast.Name) and base.id != name:
                    yield from self.line(package, base.id)


def main() -> int:
    source = Source.read()
    problems = [
        f"{path.relative_to(ROOT)}:{line}: {problem}"
        for path, tree in source.trees.items()
        for line, problem in check(tree, package_of(path), source)
    ]
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{sum(map(len, source.public.values()))} public names, {len(problems)} problems")
    return 1 if problems else 0


def package_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[1]


def exported(tree: ast.Module) -> set[str]:
    """The names in a module's ``__all__``."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(to, ast.Name) and to.id == "__all__" for to in node.targets):
            return {each.value for each in getattr(node.value, "elts", []) if isinstance(each, ast.Constant)}
    return set()


def check(tree: ast.Module, package: str, source: Source) -> Iterator[tuple[int, str]]:
    """Yield what is wrong in a file, and in which line."""
    public = source.public[package]
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name in public:
            yield from check_class(node, package, source)
        elif isinstance(node, Function) and node.name in public and not is_overload(node):
            yield from check_function(node, node.name, package, source, needs_docstring=True)


def is_overload(node: Function) -> bool:
    """Whether it only says which types go with which."""
    return any(ast.unparse(decorator) == "overload" for decorator in node.decorator_list)


def check_class(node: ast.ClassDef, package: str, source: Source) -> Iterator[tuple[int, str]]:
    text = ast.get_docstring(node) or ""
    yield from ((node.lineno, problem) for problem in check_sentence(text, node.name))
    described = "\n".join(ast.get_docstring(each) or "" for each in source.line(package, node.name))
    for each in node.body:
        if not isinstance(each, Function):
            continue
        if each.name == "__init__":
            yield from ((each.lineno, problem) for problem in check_arguments(parameters(each), described, node.name))
            yield from ((each.lineno, problem) for problem in check_raises(each, described, node.name, package, source))
        elif not each.name.startswith("_"):
            yield from check_function(each, f"{node.name}.{each.name}", package, source, needs_docstring=False)
    if any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        yield from ((node.lineno, problem) for problem in check_arguments(fields(node), described, node.name))


def check_function(
    node: Function, name: str, package: str, source: Source, *, needs_docstring: bool
) -> Iterator[tuple[int, str]]:
    text = ast.get_docstring(node)
    if text is None and not needs_docstring:
        return
    for problems in (
        check_sentence(text or "", name),
        check_arguments(parameters(node), text or "", name),
        check_raises(node, text or "", name, package, source),
    ):
        yield from ((node.lineno, problem) for problem in problems)


def check_sentence(text: str, name: str) -> Iterator[str]:
    first = " ".join(text.partition("\n\n")[0].split())
    if not re.search(r"[.:?!…]\)?$", first):
        yield f"{name}: the docstring begins with no sentence"


def parameters(node: Function) -> list[str]:
    found = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return [each.arg for each in found if each.arg not in ("self", "cls") and not each.arg.startswith("_")]


def fields(node: ast.ClassDef) -> list[str]:
    """The fields of a dataclass that are its arguments."""
    return [
        each.target.id
        for each in node.body
        if isinstance(each, ast.AnnAssign)
        and isinstance(each.target, ast.Name)
        and not each.target.id.startswith("_")
        and "ClassVar" not in ast.unparse(each.annotation)
    ]


def check_arguments(names: list[str], text: str, where: str) -> Iterator[str]:
    if re.search(r"\b(those of|as for|made by) (:|`|a cell)", text, re.IGNORECASE):
        return
    missing = [name for name in names if not re.search(rf"\b{re.escape(name)}\b", text)]
    if missing and len(names) > FEW:
        yield f"{where}: does not say what {', '.join(missing)} is"


def check_raises(node: Function, text: str, where: str, package: str, source: Source) -> Iterator[str]:
    told = text.partition("Raises:")[2]
    for name in dict.fromkeys(raised(node)):
        kinds = [each.name for each in source.line(package, name)]
        if "FlareError" in kinds and not any(re.search(rf"\b{kind}\b", told) for kind in kinds):
            yield f"{where}: does not say that it raises {name}"


def raised(node: ast.AST) -> Iterator[str]:
    """The names of the errors that are raised in a body, not in functions within it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function | ast.Lambda | ast.ClassDef):
            continue
        if isinstance(child, ast.Raise) and isinstance(child.exc, ast.Call) and isinstance(child.exc.func, ast.Name):
            yield child.exc.func.id
        yield from raised(child)


if __name__ == "__main__":
    sys.exit(main())

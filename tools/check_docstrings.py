"""Check that public names have docstrings that document their arguments and errors.

Public names are those in the ``__all__`` of the ``__init__.py`` files of packages and subpackages, the base classes of
such classes, and module-level names without a leading underscore; also the methods and properties of those classes.

- Each has a docstring that begins with one sentence. A method needs none if a base class documents it, if one of our
  protocols documents a method of that name, if the class derives from a third-party class, or if it is a test.
- No docstring, including those of modules and private names, begins with a word of ``NOT_FIRST``: the first line is an
  imperative or a noun phrase.
- An exception that the body raises, ours or a built-in one, is listed below ``Raises:``, itself or by a base class. A
  command's docstring is its help text and lists no exceptions.
- Public API lists its arguments in the docstring, in backticks or before a colon as in ``Args:``. That is everything
  public in flare-core and the recipes, and elsewhere the names in ``__all__``. A function of two arguments needs no
  list; arguments of ``__init__`` and fields of a dataclass belong in the docstring of the class or a base class. "Those
  of :func:`…`" and "as for" refer to another docstring; users do not create objects "made by" something.
- A ``type: ignore`` names its error code and gives a reason.

Usage: check_docstrings.py
"""

from __future__ import annotations

import ast
import builtins
import re
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

ROOT = Path(__file__).resolve().parent.parent
FEW = 2  # arguments that need no list
DOCUMENTED_IN_FULL = ("flare-core", "flare-recipes-")
NOT_FIRST = re.compile(r"(What|Whether|Those|Have|Takes note|Who|Which)\b")
MARKERS = ("Protocol", "ABC", "Generic")  # bases that document no methods
IGNORED_WITH_REASON = re.compile(r"# type: ignore\[[\w, -]+\]\s+# \w")
IN_BACKTICKS = re.compile(r"`\*{0,2}(\w+)`")
BEFORE_A_COLON = re.compile(r"^ *((?:\*{0,2}\w+(?:, | and )?)+):(?: |$)", re.MULTILINE)
ELSEWHERE = re.compile(r"\b(those of|as for|made by) (:|`|a cell)", re.IGNORECASE)
Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
Problems: TypeAlias = Iterator[tuple[int, str]]


@dataclass(slots=True)
class Source:
    """The parsed source of all packages.

    Attributes:
        trees: modules by path.
        public: the names exported by ``__init__.py`` files, by package.
        classes: classes by package and name.
        promised: names of methods that protocols document.
    """

    trees: dict[Path, ast.Module] = field(default_factory=dict)
    public: dict[str, set[str]] = field(default_factory=dict)
    classes: dict[tuple[str, str], ast.ClassDef] = field(default_factory=dict)
    promised: set[str] = field(default_factory=set)

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
        for package, names in source.public.items():
            names |= {base.name for name in names for base in source.line(package, name)}
        for node in source.classes.values():
            if any(name in MARKERS for name in bases(node)):
                source.promised |= described_methods(node)
        return source

    def find(self, package: str, name: str) -> ast.ClassDef | None:
        """Find a class by name, preferably in this package."""
        return self.classes.get((package, name)) or next((c for (_, n), c in self.classes.items() if n == name), None)

    def line(self, package: str, name: str) -> Iterator[ast.ClassDef]:
        """Yield a class and its base classes, as far as they are ours."""
        if node := self.find(package, name):
            yield node
            for base in bases(node):
                if base != name:
                    yield from self.line(package, base)

    def is_described(self, package: str, owner: str, method: str) -> bool:
        """Return True if a base class, a protocol or a third-party library documents a method."""
        line = list(self.line(package, owner))
        foreign = {base for node in line for base in bases(node) if not self.find(package, base)} - {*MARKERS}
        return bool(foreign) or method in self.promised or any(method in described_methods(node) for node in line)


def main() -> int:
    source = Source.read()
    problems = [
        f"{path.relative_to(ROOT)}:{line}: {problem}"
        for path, tree in source.trees.items()
        for line, problem in (*check(tree, path, source), *check_first_words(tree, path), *check_ignores(path))
    ]
    for problem in problems:
        print(problem, file=sys.stderr)
    print(
        f"{len(source.trees)} files, {sum(map(len, source.public.values()))} exported names, {len(problems)} problems"
    )
    return 1 if problems else 0


def package_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[1]


def exported(tree: ast.Module) -> set[str]:
    """Return the names in a module's ``__all__``."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(to, ast.Name) and to.id == "__all__" for to in node.targets):
            return {each.value for each in getattr(node.value, "elts", []) if isinstance(each, ast.Constant)}
    return set()


def bases(node: ast.ClassDef) -> list[str]:
    """Return the names of a class's bases, without modules and type parameters."""
    return [ast.unparse(base).partition("[")[0].rpartition(".")[2] for base in node.bases]


def methods(node: ast.ClassDef) -> list[Function]:
    return [each for each in node.body if isinstance(each, Function)]


def described_methods(node: ast.ClassDef) -> set[str]:
    return {each.name for each in methods(node) if ast.get_docstring(each)}


def check_ignores(path: Path) -> Problems:
    with tokenize.open(path) as file:
        comments = [each for each in tokenize.generate_tokens(file.readline) if each.type == tokenize.COMMENT]
    for comment in comments:
        if re.match(r"#\s*type:\s*ignore", comment.string) and not IGNORED_WITH_REASON.match(comment.string):
            yield comment.start[0], "write '# type: ignore[code]  # why'"


def check_first_words(tree: ast.Module, path: Path) -> Problems:
    for node in ast.walk(tree):
        text = ast.get_docstring(node) if isinstance(node, ast.Module | ast.ClassDef | Function) else None
        if match := NOT_FIRST.match(text or ""):
            yield getattr(node, "lineno", 1), f"the docstring begins with {match[0]!r}; use an imperative or a noun"


def check(tree: ast.Module, path: Path, source: Source) -> Problems:
    """Yield the problems of a file with their line numbers."""
    package = package_of(path)
    is_open = not any(re.match(r"_(?!_init__)", part) for part in path.relative_to(ROOT).parts)
    for node in tree.body:
        if not isinstance(node, ast.ClassDef | Function):
            continue
        is_exported = node.name in source.public[package]
        if is_exported or (is_open and not node.name.startswith("_")):
            checker = Checker(package, source, in_full=is_exported or package.startswith(DOCUMENTED_IN_FULL))
            yield from checker.check_class(node) if isinstance(node, ast.ClassDef) else checker.check_function(node)


@dataclass(frozen=True, slots=True)
class Checker:
    """A check of one public class or function.

    Attributes:
        package: its package.
        source: the source of all packages.
        in_full: require a description of each argument.
    """

    package: str
    source: Source
    in_full: bool

    def check_class(self, node: ast.ClassDef) -> Problems:
        yield from check_sentence(node, node.name)
        described = "\n".join(ast.get_docstring(each) or "" for each in self.source.line(self.package, node.name))
        if any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
            yield from self.check_arguments(node, fields(node), described, node.name)
        for each in methods(node):
            if each.name == "__init__":
                yield from self.check_arguments(each, parameters(each), described, node.name)
                yield from self.check_raises(each, described, node.name)
            elif not each.name.startswith(("_", "test_")):
                yield from self.check_function(each, node.name)

    def check_function(self, node: Function, owner: str = "") -> Problems:
        """Check a function, or a method of the class `owner`."""
        decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
        if "overload" in decorators or f"{node.name}.setter" in decorators:
            return
        is_command = any(re.search(r"\.(command|callback)\(", decorator) for decorator in decorators)
        text = ast.get_docstring(node) or ""
        if owner and not text and self.source.is_described(self.package, owner, node.name):
            return
        name = f"{owner}.{node.name}".lstrip(".")
        yield from check_sentence(node, name)
        if len(names := parameters(node)) > FEW:
            yield from self.check_arguments(node, names, text, name)
        if not is_command:
            yield from self.check_raises(node, text, name)

    def check_arguments(self, node: Function | ast.ClassDef, names: list[str], text: str, where: str) -> Problems:
        if self.in_full and not ELSEWHERE.search(text):
            documented = set(IN_BACKTICKS.findall(text))
            documented.update(name for line in BEFORE_A_COLON.findall(text) for name in re.findall(r"\w+", line))
            if missing := [name for name in names if name not in documented]:
                yield node.lineno, f"{where}: the docstring does not describe {', '.join(missing)}"

    def check_raises(self, node: Function, text: str, where: str) -> Problems:
        documented = set(re.findall(r"\w+", text.partition("Raises:")[2]))
        for name in dict.fromkeys(raised(node)):
            kinds = [each.name for each in self.source.line(self.package, name)]
            is_ours, is_builtin = "FlareError" in kinds, hasattr(builtins, name)
            if (is_ours or is_builtin) and documented.isdisjoint([*kinds, name]):
                yield node.lineno, f"{where}: the docstring does not list {name} below Raises"


def check_sentence(node: Function | ast.ClassDef, name: str) -> Problems:
    text = ast.get_docstring(node)
    if not text:
        yield node.lineno, f"{name}: the docstring is missing"
    elif not re.search(r"[.:?!…]\)?$", text.partition("\n\n")[0]):
        yield node.lineno, f"{name}: the docstring does not begin with a sentence"


def parameters(node: Function) -> list[str]:
    found = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return [each.arg for each in found if each.arg not in ("self", "cls") and not each.arg.startswith("_")]


def fields(node: ast.ClassDef) -> list[str]:
    """Return the fields of a dataclass that are arguments of its constructor."""
    return [
        each.target.id
        for each in node.body
        if isinstance(each, ast.AnnAssign)
        and isinstance(each.target, ast.Name)
        and not each.target.id.startswith("_")
        and "ClassVar" not in ast.unparse(each.annotation)
        and "init=False" not in ast.unparse(each)
    ]


def raised(node: ast.AST) -> Iterator[str]:
    """Yield the names of exceptions raised in a body, without nested functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function | ast.Lambda | ast.ClassDef):
            continue
        if isinstance(child, ast.Raise) and child.exc is not None:
            error = child.exc.func if isinstance(child.exc, ast.Call) else child.exc
            yield ast.unparse(error).rpartition(".")[2]
        yield from raised(child)


if __name__ == "__main__":
    sys.exit(main())

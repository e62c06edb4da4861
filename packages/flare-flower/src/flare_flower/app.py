"""A Flower app's folder: its checks, the files of it that travel with a job, and the packages that it imports."""

from __future__ import annotations

import ast
import hashlib
import shutil
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from flare_core import RecipeError
from flare_core.code import TemporaryFolder, collect_code
from flare_core.job import CodeBundle

MOST_BYTES = 10 << 20
"""Flower's own limit for an app."""

_SUFFIXES = {".py", ".toml", ".md", ".yaml", ".yml", ".json", ".jsonl"}  # what Flower bundles of an app
_NAMES = {".gitignore", "LICENSE"}
_SKIPPED = {"__pycache__", "venv", "node_modules"}


@dataclass(frozen=True, slots=True)
class FlowerApp:
    """A Flower app, checked.

    Attributes:
        folder: where it is.
        name: ``publisher/name``.
        serverapp, clientapp: the references to its two parts, ``module:attribute``.
        run_config: the names and values of its ``[tool.flwr.app.config]``, nested names joined with dots.
        flwr: what its ``dependencies`` demand of flwr, such as ``>=1.42``; empty if nothing.
    """

    folder: Path
    name: str
    serverapp: str
    clientapp: str
    run_config: dict[str, Any]
    flwr: str

    @classmethod
    def read(cls, content: str | Path, folder: Path) -> FlowerApp:
        """Read and check an app.

        Args:
            content: its folder; relative to ``folder`` or to the working directory.
            folder: the folder of the file that makes the recipe.
        Raises:
            RecipeError: there is no such app, or it lacks something; names the file and the remedy.
        """
        if not isinstance(content, str | Path) or not str(content):
            raise RecipeError(f"flower_content is {content!r}; give the folder of a Flower app")
        path = Path(content).expanduser()
        places = [path] if path.is_absolute() else list(dict.fromkeys((folder / path, Path.cwd() / path)))
        found = next((place for place in places if place.is_dir()), None)
        if found is None:
            raise RecipeError(
                f"flower_content {str(content)!r} is no folder; looked for {' and '.join(map(str, places))}"
            )
        return _read(found.resolve())

    def bundle(self) -> tuple[str, CodeBundle]:
        """Copy the app's files; return the name of their folder within the bundle, which their content determines.

        Raises:
            RecipeError: they exceed Flower's limit.
        """
        files = list(_files(self.folder))
        digest = hashlib.sha256()
        for each in files:
            content = (self.folder / each).read_bytes()
            digest.update(f"{each}\0{len(content)}\0".encode() + content)
        size = sum((self.folder / each).stat().st_size for each in files)
        if size > MOST_BYTES:
            raise RecipeError(
                f"the files of {self.folder} are {size >> 20} MiB, and a Flower app may have {MOST_BYTES >> 20};"
                " keep data at the sites"
            )
        name = f"flower-app-{digest.hexdigest()[:16]}"
        copy = TemporaryFolder()
        for each in files:
            target = copy.folder / name / each
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.folder / each, target)
        root = copy.folder.resolve()
        return name, CodeBundle(root, tuple(sorted(PurePosixPath(name) / each for each in files)), owner=copy)

    def imports(self, reference: str) -> dict[str, str]:
        """Return the packages that one part of the app needs, each with the place of an import of it.

        Imports that the app guards with ``try`` are not counted, nor those inside of functions.
        """
        found: dict[str, str] = {}
        module = _module_file(self.folder, reference.partition(":")[0])
        assert module is not None
        for file in collect_code([module], self.folder).files:
            if file.suffix == ".py":
                for name, line in _imports((self.folder / file).read_bytes()):
                    if not _is_local(name, self.folder, self.folder / file):
                        found.setdefault(name, f"{file}, line {line}")
        return found


def _read(folder: Path) -> FlowerApp:
    file = folder / "pyproject.toml"
    if not file.is_file():
        raise RecipeError(f"{folder} has no pyproject.toml, so it is no Flower app; 'flare flower new' makes one")
    try:
        config = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{file} cannot be read: {error}") from error
    project = config.get("project", {})
    app = config.get("tool", {}).get("flwr", {}).get("app", {})
    for section, table, key in (
        ("project", project, "name"),
        ("project", project, "version"),
        ("tool.flwr.app", app, "publisher"),
        ("tool.flwr.app.components", app.get("components", {}), "serverapp"),
        ("tool.flwr.app.components", app.get("components", {}), "clientapp"),
    ):
        if not isinstance(table.get(key), str) or not table[key]:
            raise RecipeError(f"{file} has no {key} in [{section}]; a Flower app needs one")
    components = app["components"]
    for key in ("serverapp", "clientapp"):
        module, colon, attribute = components[key].partition(":")
        if not colon or not attribute:
            raise RecipeError(f"{file}: {key} is {components[key]!r}; write 'module:attribute'")
        if _module_file(folder, module) is None:
            raise RecipeError(f"{file}: {key} is {components[key]!r}, but the app has no module {module}")
    return FlowerApp(
        folder,
        f"{app['publisher']}/{project['name']}",
        components["serverapp"],
        components["clientapp"],
        dict(_flat(app.get("config", {}))),
        _demand(project.get("dependencies", [])),
    )


def _files(folder: Path) -> Iterator[PurePosixPath]:
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder)
        if any(part.startswith(".") or part in _SKIPPED for part in place.parts[:-1]):
            continue
        is_wanted = (path.suffix in _SUFFIXES and not path.name.startswith(".")) or path.name in _NAMES
        if is_wanted and path.is_file() and path.resolve().is_relative_to(folder):
            yield PurePosixPath(place.as_posix())


def _module_file(folder: Path, module: str) -> Path | None:
    base = folder.joinpath(*module.split("."))
    return next((each for each in (base.with_name(f"{base.name}.py"), base / "__init__.py") if each.is_file()), None)


def _imports(source: bytes) -> Iterator[tuple[str, int]]:
    """Yield the packages that a module imports at once, with the lines; none if it cannot be parsed."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0], node.lineno


def _is_local(name: str, folder: Path, file: Path) -> bool:
    if name in sys.stdlib_module_names:
        return True
    return any((place / f"{name}.py").is_file() or (place / name).is_dir() for place in (folder, file.parent))


def _flat(table: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _demand(dependencies: list[str]) -> str:
    """Return what the requirements demand of flwr's version."""
    for each in dependencies:
        name = each.replace(" ", "")
        if name.startswith("flwr") and not name.startswith("flwr-"):
            return name.removeprefix("flwr").partition("]")[2] if "[" in name else name.removeprefix("flwr")
    return ""

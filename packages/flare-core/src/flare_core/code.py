"""Which files a training script needs: the modules it imports from its own project, and small data beside them."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from flare_core.errors import RecipeError
from flare_core.job import CodeBundle

__all__ = ["calling_folder", "collect_code", "find_script"]

MAX_DATA_BYTES = 1 << 20
"""A file beside a script that is no larger travels with the job; what is larger belongs to the site."""

_NOT_DATA = {".pyc", ".pt", ".pth", ".ckpt", ".safetensors", ".log", ".lock"}


def calling_folder() -> Path:
    """Return the folder of the file that is using Flare: the first caller that is no part of Flare.

    In a notebook or an interactive session, which have no file, it is the working folder.
    """
    frame = inspect.currentframe()
    while frame is not None:
        name = frame.f_globals.get("__name__", "").partition(".")[0]
        file = frame.f_globals.get("__file__")
        if not name.startswith("flare_"):
            return Path(file).resolve().parent if file and Path(file).is_file() else Path.cwd()
        frame = frame.f_back
    return Path.cwd()


def find_script(script: str | Path, folder: Path) -> Path:
    """Find a script by its path: absolute, or relative to ``folder``, or else to the working folder.

    Raises:
        RecipeError: it is nowhere, or no file; lists where it was looked for.
    """
    path = Path(script).expanduser()
    places = [path] if path.is_absolute() else list(dict.fromkeys((folder / path, Path.cwd() / path)))
    for place in places:
        if place.is_file():
            return place.resolve()
    raise RecipeError(
        f"train_script {str(script)!r} is not there; looked for {' and '.join(map(str, places))}."
        " Give a path relative to the file that makes the recipe, or an absolute one"
    )


def collect_code(scripts: list[Path], folder: Path) -> CodeBundle:
    """Return the code that ``scripts`` need, below one root.

    The root is ``folder`` where the scripts lie in it, else the scripts' own folder. Imports are followed through all
    modules that lie below the root; installed packages are expected to be installed at the sites. A file that cannot be
    parsed travels as it is: the site that runs it reports the error.
    """
    root = folder if all(script.is_relative_to(folder) for script in scripts) else _common_root(scripts)
    found: dict[Path, None] = {}
    queue = list(scripts)
    while queue:
        path = queue.pop()
        if path in found:
            continue
        found[path] = None
        queue.extend(_local_imports(path, root))
    data = {file for script in scripts for file in _small_data(script.parent)}
    files = sorted({PurePosixPath(path.relative_to(root).as_posix()) for path in (*found, *data)})
    return CodeBundle(root, tuple(files))


def _common_root(scripts: list[Path]) -> Path:
    root = scripts[0].parent
    while not all(script.is_relative_to(root) for script in scripts):
        root = root.parent
    return root


def _local_imports(path: Path, root: Path) -> Iterator[Path]:
    try:
        tree = ast.parse(path.read_bytes(), str(path))
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _resolve(alias.name, [path.parent, root])
        elif isinstance(node, ast.ImportFrom):
            base = path.parent
            for _ in range(node.level - 1):
                base = base.parent
            places = [base] if node.level else [path.parent, root]
            module = node.module or ""
            yield from _resolve(module, places)
            for alias in node.names:
                yield from _resolve(f"{module}.{alias.name}".lstrip("."), places)


def _resolve(module: str, places: list[Path]) -> Iterator[Path]:
    """Yield the files that ``import module`` would run, in the first of ``places`` that has them."""
    parts = [part for part in module.split(".") if part]
    if not parts or parts[0] in sys.stdlib_module_names:
        return
    for place in places:
        found = list(_walk(place, parts))
        if found:
            yield from found
            return


def _walk(place: Path, parts: list[str]) -> Iterator[Path]:
    here = place
    for part in parts:
        module, package = here / f"{part}.py", here / part
        if module.is_file():
            yield module.resolve()
            return
        if not package.is_dir():
            return
        if (package / "__init__.py").is_file():
            yield (package / "__init__.py").resolve()
        here = package


def _small_data(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "_")) or path.suffix in _NOT_DATA or path.suffix == ".py" or not path.is_file():
            continue
        if path.stat().st_size <= MAX_DATA_BYTES:
            yield path.resolve()

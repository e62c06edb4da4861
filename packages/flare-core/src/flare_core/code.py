"""Collection of the files that a training script needs: the project's modules that it imports, and small data."""

from __future__ import annotations

import ast
import inspect
import logging
import os
import re
import shutil
import sys
import tempfile
import weakref
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path, PurePosixPath

from flare_core.errors import RecipeError
from flare_core.job import CodeBundle

MAX_DATA_BYTES = 1 << 20
"""Size up to which a file next to a script travels with the job; larger files belong at the sites."""

MAX_DATA_FILES = 1000
MAX_DATA_TOTAL = 64 << 20
"""Limits beyond which the script's folder evidently holds more than the script's own files."""

_NOT_DATA = {".pyc", ".pt", ".pth", ".ckpt", ".safetensors", ".log", ".lock", ".ipynb", ".bak", ".orig"}

# Common names of files with secrets, and typical contents: private keys, and invitations to a Flare project.
_SECRET_NAME = re.compile(
    r"(^|[._-])(secrets?|credentials?|passwords?|passwd|htpasswd|api[_-]?keys?|kubeconfig|id_(rsa|dsa|ecdsa|ed25519))"
    r"([._-]|$)|\.(key|pem|p12|pfx|jks|keystore|kdbx|ppk|env)$",
    re.IGNORECASE,
)
_SECRET_CONTENT = re.compile(rb"PRIVATE KEY-----|\Aflare1-")

logger = logging.getLogger(__name__)


def calling_folder() -> Path:
    """Return the folder of the file that uses Flare, the first caller outside of it.

    In a notebook or an interactive session, which have no file, it is the working directory.
    """
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").startswith(("flare_", "nvflare.")):
        frame = frame.f_back
    file = None if frame is None else frame.f_globals.get("__file__")
    return Path(file).resolve().parent if file and Path(file).is_file() else Path.cwd()


def find_script(script: str | Path, folder: Path, *, argument: str = "train_script") -> Path:
    """Find a file by its path: absolute, relative to ``folder``, or relative to the working directory.

    Args:
        script: the path, a script's or a checkpoint's.
        folder: the folder of the file that creates the recipe.
        argument: the name of the recipe's argument, for the message.

    Raises:
        RecipeError: there is no such file; lists the paths that were tried.
    """
    path = Path(script).expanduser()
    places = [path] if path.is_absolute() else list(dict.fromkeys((folder / path, Path.cwd() / path)))
    for place in places:
        if place.is_file():
            return place.resolve()
    raise RecipeError(
        f"{argument} {str(script)!r} does not exist; looked for {' and '.join(map(str, places))}."
        " Give a path relative to the file that creates the recipe, or an absolute one"
    )


def collect_code(scripts: list[Path], folder: Path) -> CodeBundle:
    """Collect the files that ``scripts`` need, below one root.

    The root is ``folder`` if it contains all scripts, else their common parent. Imports are followed through all
    modules below the root; other packages must be installed at the sites. A file that cannot be parsed is included
    anyway: the site that runs it reports the error.

    Files of up to 1 MiB next to a script are included, except for hidden files, models, notebooks, links that lead out
    of the root, and files that look like secrets, about which a warning is logged. Next to a script in the user's home
    folder or above it, no such files are included.

    Raises:
        RecipeError: the files are too many, or too large in total.
    """
    root = folder
    if not all(script.is_relative_to(folder) for script in scripts):
        root = Path(os.path.commonpath([script.parent for script in scripts]))
    found: set[Path] = set()
    queue = list(scripts)
    while queue:
        path = queue.pop()
        if path not in found:
            found.add(path)
            queue.extend(_local_imports(path, root))
    data = {file for script in scripts for file in _small_data(script.parent, root)}
    size = sum(path.stat().st_size for path in data)
    if len(data) > MAX_DATA_FILES or size > MAX_DATA_TOTAL:
        raise RecipeError(
            f"{len(data)} files of {size >> 20} MiB in total are next to {', '.join(map(str, scripts))} and would be"
            " sent to the server and every site; move the script to a folder with only the files that it needs"
        )
    files = sorted({PurePosixPath(path.relative_to(root).as_posix()) for path in (*found, *data)})
    return CodeBundle(root, tuple(files))


class TemporaryFolder:
    """A temporary folder that is deleted along with this object."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="flare-recipe-"))
        weakref.finalize(self, _remove, self.folder, os.getpid())


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # a forked process inherits the object, but does not own the folder
        shutil.rmtree(folder, ignore_errors=True)


def with_files(code: CodeBundle, added: Sequence[Path], *, without: Collection[PurePosixPath] = ()) -> CodeBundle:
    """Return a copy of ``code`` in a new folder, with files added at its top level and others removed.

    The files in ``code.extra`` can be large and are not copied, only referred to.

    Args:
        code: the bundle; it is not changed.
        added: paths of files to add under their own names.
        without: paths in ``code.files`` and ``code.extra`` to leave out.
    Raises:
        RecipeError: there is a different file of that name.
    """
    copy = TemporaryFolder()
    kept = [place for place in code.files if place not in without]
    for place in kept:
        target = copy.folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(code.root / place, target)
    for path in added:
        target = copy.folder / path.name
        is_taken = target.exists() or PurePosixPath(path.name) in code.extra
        if is_taken and not (target.is_file() and target.read_bytes() == path.read_bytes()):
            raise RecipeError(
                f"the job already has a file {path.name!r}, which differs from {path}; rename one of them"
            )
        shutil.copy2(path, target)
    files = sorted({*kept, *(PurePosixPath(path.name) for path in added)})
    extra = {place: path for place, path in code.extra.items() if place not in without}
    return CodeBundle(copy.folder.resolve(), tuple(files), extra, owner=(copy, code.owner))


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
    """Yield the files that ``import module`` would run, from the first of ``places`` that has any."""
    parts = [part for part in module.split(".") if part]
    if parts and parts[0] not in sys.stdlib_module_names:
        yield from next((found for place in places if (found := list(_walk(place, parts)))), ())


def _walk(here: Path, parts: list[str]) -> Iterator[Path]:
    for part in parts:
        module, package = here / f"{part}.py", here / part
        if module.is_file():
            yield module
            return
        if not package.is_dir():
            return
        if (package / "__init__.py").is_file():
            yield package / "__init__.py"
        here = package


def _small_data(folder: Path, root: Path) -> Iterator[Path]:
    home = Path(os.path.expanduser("~"))  # stays "~", which is not absolute, if there is no home folder
    if home.is_absolute() and home.resolve().is_relative_to(folder):
        return
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "_")) or path.name.endswith("~") or path.suffix in {*_NOT_DATA, ".py"}:
            continue
        if not path.is_file() or not path.resolve().is_relative_to(root) or path.stat().st_size > MAX_DATA_BYTES:
            continue
        if _SECRET_NAME.search(path.name) or _SECRET_CONTENT.search(path.read_bytes()):
            logger.warning("%s looks like a secret and is not sent to the sites; if they need it, copy it there", path)
        else:
            yield path

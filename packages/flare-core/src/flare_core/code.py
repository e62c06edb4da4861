"""Which files a training script needs: the modules it imports from its own project, and small data beside them."""

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

__all__ = ["TemporaryFolder", "calling_folder", "collect_code", "find_script", "with_files"]

MAX_DATA_BYTES = 1 << 20
"""A file beside a script that is no larger travels with the job; what is larger belongs to the site."""

MAX_DATA_FILES = 1000
MAX_DATA_TOTAL = 64 << 20
"""Beyond that, the folder of a script holds more than the script and its small files."""

_NOT_DATA = {".pyc", ".pt", ".pth", ".ckpt", ".safetensors", ".log", ".lock", ".ipynb", ".bak", ".orig"}

# Common names of files with secrets, and what such files contain: private keys, and invitations to a project.
_SECRET_NAME = re.compile(
    r"(^|[._-])(secrets?|credentials?|passwords?|passwd|htpasswd|api[_-]?keys?|kubeconfig|id_(rsa|dsa|ecdsa|ed25519))"
    r"([._-]|$)|\.(key|pem|p12|pfx|jks|keystore|kdbx|ppk|env)$",
    re.IGNORECASE,
)
_SECRET_CONTENT = re.compile(rb"PRIVATE KEY-----|\Aflare1-")

logger = logging.getLogger(__name__)


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

    Of what lies beside a script, files travel that are no larger than a mebibyte, except for hidden ones, models,
    notebooks, links that lead out of the root, and what looks like a secret, which the log names. Beside a script in
    the user's home folder, or above it, nothing does.

    Raises:
        RecipeError: there are too many, or they are too large together.
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
    data = {file for script in scripts for file in _small_data(script.parent, root)}
    size = sum(path.stat().st_size for path in data)
    if len(data) > MAX_DATA_FILES or size > MAX_DATA_TOTAL:
        raise RecipeError(
            f"{len(data)} files of {size >> 20} MiB lie beside {', '.join(map(str, scripts))}, and would be sent to"
            " the server and every site; put the script into a folder of its own, with only the files that it needs"
        )
    files = sorted({PurePosixPath(path.relative_to(root).as_posix()) for path in (*found, *data)})
    return CodeBundle(root, tuple(files))


class TemporaryFolder:
    """A folder that is there as long as this object is."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="flare-recipe-"))
        weakref.finalize(self, _remove, self.folder, os.getpid())


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # a forked process has the object too, but the folder is not its own
        shutil.rmtree(folder, ignore_errors=True)


def with_files(code: CodeBundle, added: Sequence[Path], *, without: Collection[PurePosixPath] = ()) -> CodeBundle:
    """Return a copy of ``code``, in a folder of its own, with more files at its top, and some left out.

    What lies elsewhere (``code.extra``) is not copied: it can be large, and is found where it is.

    Args:
        code: stays as it is.
        added: paths of files, each of which keeps its name.
        without: places in ``code.files`` and ``code.extra`` that are left out.
    Raises:
        RecipeError: there is another file of that name.
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
                f"the job has a file {path.name!r} already, which is another than {path}; rename one of them"
            )
        shutil.copy2(path, target)
    files = sorted({*kept, *(PurePosixPath(path.name) for path in added)})
    extra = {place: path for place, path in code.extra.items() if place not in without}
    return CodeBundle(copy.folder.resolve(), tuple(files), extra, owner=(copy, code.owner))


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
            yield module
            return
        if not package.is_dir():
            return
        if (package / "__init__.py").is_file():
            yield package / "__init__.py"
        here = package


def _small_data(folder: Path, root: Path) -> Iterator[Path]:
    home = Path(os.path.expanduser("~"))  # unchanged, and so not absolute, if there is none
    if home.is_absolute() and home.resolve().is_relative_to(folder):
        return
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "_")) or path.suffix in _NOT_DATA or path.suffix == ".py" or not path.is_file():
            continue
        if path.name.endswith("~") or not path.resolve().is_relative_to(root):
            continue
        if path.stat().st_size > MAX_DATA_BYTES:
            continue
        if _SECRET_NAME.search(path.name) or _SECRET_CONTENT.search(path.read_bytes()):
            logger.warning(
                "%s looks like a secret and does not travel with the script; if sites need it, give it to each of them",
                path,
            )
        else:
            yield path

"""ProcessState: process-wide state that a script may change and that others in its process must not see."""

from __future__ import annotations

import logging
import os
import random
import sys
import tempfile
import types
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import ClassVar, TextIO

from flare_core.client.session import Session, attach
from flare_core.executor import SiteChannel
from flare_runtime.scripts import generators, settings


class ProcessState:
    """The process-wide state of one script.

    That is argv, the working folder, import path, environment, modules beside the script, output, logging, random
    generators, settings, folder for temporary files, and the Client API's session.

    :meth:`enter` saves the state of the script that ran before and applies this one. Other changes inside installed
    packages and C libraries remain shared, so sites have processes of their own where possible.

    Args:
        folder: the working folder.
        variables: environment variables in addition to those of this process.
        temporary: where :mod:`tempfile` makes files; None for the system's folder.
        roots: folders whose modules belong to the script; they come first on its import path.
        output: where ``print`` writes.
        seed: seed of the generators of ``random``, ``numpy.random``, torch and TensorFlow.
        channel: the script's connection to its site.
    """

    active: ClassVar[ProcessState | None] = None
    _base_path: ClassVar[list[str]] = []

    def __init__(
        self,
        *,
        folder: Path,
        roots: Sequence[Path],
        output: TextIO,
        seed: int,
        channel: SiteChannel | None,
        variables: Mapping[str, str] | None = None,
        temporary: Path | None = None,
    ) -> None:
        self.main: types.ModuleType | None = None
        self.argv = [""]
        self.own_modules: set[str] = set()
        self.roots = [str(root) for root in roots]
        self._folder = str(folder)
        self._path = [*self.roots, *ProcessState._base_path]
        self._modules: dict[str, types.ModuleType] = {}
        self._environment = {**os.environ, **(variables or {})}
        self._output: tuple[TextIO, TextIO] = (output, output)
        self._logging: tuple[list[logging.Handler], int] = ([], logging.WARNING)
        self.seed = seed
        self._generators: generators.States = {}
        self._settings: settings.Values = {}
        self._temporary = None if temporary is None else str(temporary)
        self._channel = channel
        self._session: Session | None = None

    def start_script(self, path: Path, arguments: Sequence[str], main: types.ModuleType) -> None:
        """Set the command line and ``__main__`` of a script that starts, and make its folder importable."""
        self.argv = sys.argv = [str(path), *arguments]
        self.main = sys.modules["__main__"] = main
        folder = str(path.parent)
        if folder not in self.roots:
            self.roots.insert(0, folder)
            sys.path.insert(0, folder)

    def enter(self) -> None:
        """Apply this state, after saving that of the script that ran before."""
        before = ProcessState.active
        if before is self:
            return
        if before is not None:
            before._keep()
        self._apply()
        ProcessState.active = self

    @classmethod
    def prepare(cls, own_roots: Sequence[Path], loaded: Sequence[str]) -> None:
        """Prepare this process for scripts: unload modules that came from their folders, and hook into imports.

        Args:
            own_roots: the scripts' folders.
            loaded: the modules that :func:`modules_below` found there.
        """
        cls._base_path = [entry for entry in sys.path if entry and not _is_below(entry, own_roots)]
        for name in loaded:
            sys.modules.pop(name, None)
        sys.meta_path.insert(0, _OwnModules())
        settings.note_initial()

    def _keep(self) -> None:
        self.argv = sys.argv
        self._folder = os.getcwd()
        self._path = list(sys.path)
        self._modules = {name: sys.modules.pop(name) for name in self.own_modules if name in sys.modules}
        self._environment = dict(os.environ)
        self._output = (sys.stdout, sys.stderr)
        self._logging = (logging.root.handlers[:], logging.root.level)
        self._generators = generators.keep()
        self._settings = settings.keep()
        self._temporary = tempfile.tempdir
        self._session = attach(None)

    def _apply(self) -> None:
        sys.argv = self.argv
        os.chdir(self._folder)
        sys.path[:] = self._path
        sys.modules.update(self._modules)
        if self.main is not None:
            sys.modules["__main__"] = self.main
        _set_environment(self._environment)
        sys.stdout, sys.stderr = self._output
        logging.root.handlers[:], level = self._logging
        logging.root.setLevel(level)
        generators.restore(self._generators, self.seed)
        settings.restore(self._settings)
        tempfile.tempdir = self._temporary
        attach(self._channel, self._session)


def modules_below(roots: Sequence[Path]) -> list[str]:
    """Return the names of the loaded modules below ``roots``.

    Called once, in the parent process: touching all modules in each forked worker would unshare their memory.
    """
    files = [(name, getattr(module, "__file__", None)) for name, module in sys.modules.items()]
    return [name for name, file in files if file and _is_below(file, roots) and not _is_installed(file)]


class _OwnModules:
    """An import hook that finds modules beside the running script, and records them as its own."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> ModuleSpec | None:
        state = ProcessState.active
        if state is None:
            return None
        if name in generators.SEEDED:
            return _seeding(PathFinder.find_spec(name, path), name, state)
        if path is not None:
            if name.rpartition(".")[0] not in state.own_modules:
                return None
            state.own_modules.add(name)
            return PathFinder.find_spec(name, path)
        spec = PathFinder.find_spec(name, state.roots)
        if spec is None or (spec.loader is None and PathFinder.find_spec(name, ProcessState._base_path) is not None):
            return None  # a folder without __init__.py does not hide an installed package of the same name
        state.own_modules.add(name)
        return spec


def _seeding(spec: ModuleSpec | None, name: str, state: ProcessState) -> ModuleSpec | None:
    """Return the spec with a loader that seeds the module's generator for the script that imports it first.

    The state of ``random`` is restored after the import, which may draw from it: scripts that import the module later
    find it loaded and draw nothing, and all must see the same numbers.
    """
    loader = spec.loader if spec is not None else None
    if loader is not None:
        execute = loader.exec_module

        def execute_and_seed(module: types.ModuleType) -> None:
            before = random.getstate()
            execute(module)
            random.setstate(before)
            generators.seed_module(name, state.seed)
            settings.note_initial(name)

        loader.exec_module = execute_and_seed  # type: ignore[method-assign]  # of this one loader
    return spec


def _set_environment(wanted: Mapping[str, str]) -> None:
    for name in os.environ.keys() - wanted.keys():
        del os.environ[name]
    for name, value in wanted.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


def _is_installed(file: str) -> bool:
    parts = Path(file).parts
    return any(part in ("site-packages", "dist-packages") or part.startswith("flare_") for part in parts)


def _is_below(path: str, roots: Sequence[Path]) -> bool:
    place = os.path.join(os.path.abspath(path), "")
    installed, own = (
        tuple(os.path.join(each, "") for each in places) for places in ((sys.prefix, sys.base_prefix), roots)
    )
    return place.startswith(own) and not place.startswith(installed)

"""Checkpoints: the global and the best model of a run, written behind its back."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from flare_core import CodeBundle, FLModel, flatten
from flare_runtime.run.folder import RunFolder
from flare_tensor_downloader import read_file, write_file
from flare_tensor_downloader.file_errors import naming

__all__ = ["Checkpoints", "Keeper", "Persistor", "link", "write_text"]

LARGE_BYTES = 1 << 24
MIN_INTERVAL_S = 0.5
COST_FACTOR = 9  # the time between two writes, in units of what the last one took


@runtime_checkable
class Persistor(Protocol):
    """Reads a job's initial model and keeps checkpoints in its framework's own format as well."""

    def initial_file(self, code: CodeBundle) -> Path | None:
        """The safetensors file of the initial model; None if the job has none."""

    def export(self, checkpoint: Path) -> None:
        """Write the framework's own format beside a finished safetensors checkpoint."""

    def to_framework(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Turn numpy arrays into arrays of the framework."""


class Keeper(Protocol):
    """Where a run's models are kept."""

    def load(self, name: str = "global") -> FLModel:
        """Return the model saved last under a name, for ``global`` else the initial one; without params if there is
        none."""

    def save(self, model: FLModel, name: str) -> None:
        """Keep ``model`` as the ``global`` or ``best`` one; it must not change afterwards.

        Raises:
            OSError: an earlier one could not be written.
        """

    def write(self, name: str, text: str) -> None:
        """Keep a file beside the checkpoints."""

    def commit(self, round_: int) -> None:
        """Take note that a round is complete, with the global model that was saved last."""


class Checkpoints:
    """Writes checkpoints on a thread of its own, while the next round runs.

    The global model is written again when that has cost at most a tenth of the time so far, but not twice a second, and
    at the end; the best model when it is found. A crash leaves the file before or after, never a part.

    Args:
        folder: where the files go.
        persistor: the job's; None keeps safetensors only.
        code: where the persistor finds the initial model.
    """

    def __init__(self, folder: RunFolder, persistor: Persistor | None, code: CodeBundle) -> None:
        self._initial = persistor.initial_file(code) if persistor is not None else None
        self._folder = folder
        self._persistor = persistor
        self._pending: dict[str, FLModel | Path] = {}
        self._current: FLModel | None = None  # the model saved last as the global one
        self._current_file: Path | None = None  # where it lies, once it is written
        self._due = False  # what is pending should be written now
        self._writing = False
        self._closed = False
        self._next_write = 0.0
        self._error: BaseException | None = None
        self._condition = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="flare-checkpoints", daemon=True)
        self._thread.start()

    def load(self, name: str = "global") -> FLModel:
        if name == "initial":
            return FLModel() if self._initial is None else FLModel(params=read_file(self._initial))
        with self._condition:
            self._condition.wait_for(lambda: not self._writing)
            self._raise_error()
            saved = self._current if name == "global" else self._pending.get(name)
        if isinstance(saved, FLModel):
            return saved
        path = saved or self._folder.checkpoint(name)
        if name != "global":
            return FLModel(params=read_file(path)) if path.is_file() else FLModel()
        if self._initial is None:
            return FLModel()
        model = FLModel(params=read_file(self._initial))  # mapped into memory, and read where it is used
        with self._condition:
            self._current, self._current_file = model, self._initial
            self._pending["global"] = self._initial
        return model

    def commit(self, round_: int) -> None:
        """Do nothing: a simulated run is not continued."""

    def write(self, name: str, text: str) -> None:
        write_text(self._folder.server / name, text)

    def save(self, model: FLModel, name: str) -> None:
        is_large = sum(np.asarray(value).nbytes for _, value in flatten(model.params or {})) > LARGE_BYTES
        with self._condition:
            self._raise_error()
            if is_large:  # no more than one model waits to be written
                self._condition.wait_for(lambda: not self._writing and not self._due)
            if name == "global":
                self._current, self._current_file = model, None
            is_written = model is self._current and self._current_file is not None
            self._pending[name] = self._current_file if is_written and self._current_file else model
            if time.monotonic() >= self._next_write or (is_large and name != "global"):
                self._due = True
                self._condition.notify_all()

    def close(self) -> None:
        """Write what is pending, and the framework's own formats.

        Raises:
            OSError: something could not be written.
        """
        with self._condition:
            self._closed = True
            self._condition.notify_all()
        self._thread.join()
        self._current = None  # whoever still holds this object need not hold a model
        self._raise_error()
        for name in ("global", "best"):
            path = self._folder.checkpoint(name)
            if self._persistor is not None and path.is_file():
                self._persistor.export(path)

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._due or self._closed)
                work, self._pending = self._pending, {}
                self._due, self._writing = False, True
                is_last = self._closed
            started = time.monotonic()
            try:
                # The best model may be a link to the global file as it is before this pass, so it comes first.
                for name in sorted(work):
                    self._write(name, work.pop(name))
            except BaseException as error:
                self._error = error
            work.clear()
            with self._condition:
                now = time.monotonic()
                self._next_write = now + max(MIN_INTERVAL_S, COST_FACTOR * (now - started))
                self._writing = False
                self._condition.notify_all()
            if is_last:
                return

    def _write(self, name: str, model: FLModel | Path) -> None:
        target = self._folder.checkpoint(name)
        if isinstance(model, Path):
            link(model, target)
            return
        write_file(target, model.params or {})
        with self._condition:
            if name == "global" and model is self._current:
                self._current_file = target


def write_text(path: Path, text: str) -> None:
    """Write a file that is the whole new one or the whole old one."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with naming(path):
            partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def link(source: Path, target: Path) -> None:
    """Give a file a second name; it stays as it is when the first name is given to another."""
    if target.exists() and target.samefile(source):
        return  # and not replaced by itself, which would do nothing, and leave the partial name behind
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    partial.unlink(missing_ok=True)
    try:
        os.link(source, partial)
    except OSError:  # another file system, or one without links
        try:
            with naming(target):
                shutil.copyfile(source, partial)
        except OSError:
            partial.unlink(missing_ok=True)
            raise
    partial.replace(target)

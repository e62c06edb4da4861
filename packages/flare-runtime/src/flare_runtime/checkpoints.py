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
from flare_tensor_downloader import write_file

from flare_runtime.run_folder import RunFolder

__all__ = ["Checkpoints", "Persistor"]

SMALL_BYTES = 1 << 24
INTERVAL_S = 1.0


@runtime_checkable
class Persistor(Protocol):
    """Reads a job's initial model and keeps checkpoints in its framework's own format as well."""

    def initial_file(self, code: CodeBundle) -> Path | None:
        """The safetensors file of the initial model; None if the job has none."""

    def export(self, checkpoint: Path) -> None:
        """Write the framework's own format beside a finished safetensors checkpoint."""

    def to_framework(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Turn numpy arrays into arrays of the framework."""


class Checkpoints:
    """Writes checkpoints on a thread of its own, while the next round runs.

    A model is written at once if it is large, or if nothing was written for a second; small models of quick rounds are
    written when the second is over or at the end. A crash leaves the file before or after, never a part.
    """

    def __init__(self, folder: RunFolder, persistor: Persistor | None, code: CodeBundle) -> None:
        self._folder = folder
        self._persistor = persistor
        self.initial = persistor.initial_file(code) if persistor is not None else None
        self._pending: dict[str, FLModel] = {}
        self._on_disk: dict[int, tuple[FLModel, Path]] = {}
        self._written_at = -INTERVAL_S
        self._busy = False
        self._closed = False
        self._error: BaseException | None = None
        self._condition = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="flare-checkpoints", daemon=True)
        self._thread.start()

    def note_initial(self, model: FLModel) -> None:
        """Take note that ``model`` lies in the job's initial file already."""
        if self.initial is not None:
            self._on_disk[id(model)] = (model, self.initial)

    def save(self, model: FLModel, name: str) -> None:
        """Keep ``model`` under ``name``; it must not change afterwards.

        Raises:
            OSError: an earlier checkpoint could not be written.
        """
        size = sum(np.asarray(value).nbytes for _, value in flatten(model.params or {}))
        with self._condition:
            self._raise_error()
            if size > SMALL_BYTES:
                self._condition.wait_for(lambda: not self._busy and not self._pending)
            self._pending.pop(name, None)
            self._pending[name] = model
            if size > SMALL_BYTES or time.monotonic() - self._written_at >= INTERVAL_S:
                self._busy = True
                self._condition.notify_all()

    def close(self) -> None:
        """Write what is pending, and the framework's own formats.

        Raises:
            OSError: something could not be written.
        """
        with self._condition:
            self._closed = self._busy = True
            self._condition.notify_all()
        self._thread.join()
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
                self._condition.wait_for(lambda: self._busy)
                work, self._pending = self._pending, {}
                closed = self._closed
            try:
                for name, model in work.items():
                    self._write(name, model)
            except BaseException as error:
                self._error = error
            del work
            with self._condition:
                self._written_at = time.monotonic()
                self._busy = bool(self._pending) and self._closed
                self._condition.notify_all()
            if closed:
                return

    def _write(self, name: str, model: FLModel) -> None:
        target = self._folder.checkpoint(name)
        known = self._on_disk.get(id(model))
        if known is not None:
            _link(known[1], target)
        else:
            write_file(target, model.params or {})
        if name == "global":
            self._on_disk = {id(model): (model, target)}


def _link(source: Path, target: Path) -> None:
    """Give a file a second name; it stays as it is when the first name is given to another."""
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    partial.unlink(missing_ok=True)
    try:
        os.link(source, partial)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, partial)
    partial.replace(target)

"""RoundStore: what a run needs to be continued after its last completed round, on disk before the next one ends.

    server/state.json                   the last completed round, the file of its model, and the workflow's own state
    server/round-<n>.safetensors        that model; global_model.safetensors is a second name for it, once a second
    server/state-<n>.safetensors        the arrays of the workflow's state, if it has any
    server/best-<0 or 1>.safetensors    the best model up to that round; best_model.safetensors is a second name for it

state.json is replaced when the models lie beside it, so all of them always belong together: what a round has saved that
was not completed counts for nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from flare_core import CodeBundle, FLModel, flatten, unflatten
from flare_runtime.run.checkpoints import LARGE_BYTES, Persistor, link, write_text
from flare_runtime.run.folder import RunFolder
from flare_tensor_downloader import read_file, write_file

__all__ = ["RoundStore"]

LINK_S = 1.0  # how old the model under its public name may be while the run goes on


class RoundStore:
    """Keeps every completed round: a small model at once, a large one while the next round runs.

    Args:
        folder: of the run.
        persistor: the job's; None keeps safetensors only.
        code: where the persistor finds the initial model.
    Attributes:
        state: makes what is to be kept beside the model.
    """

    def __init__(self, folder: RunFolder, persistor: Persistor | None, code: CodeBundle) -> None:
        self.state: Callable[[], Mapping[str, Any]] = dict
        self._folder = folder
        self._persistor = persistor
        self._code = code
        self._state_file = folder.server / "state.json"
        self._model: FLModel | None = None  # saved, and not on disk yet
        self._writing: Future[None] | None = None
        kept = self.read_state()
        self._file: str | None = kept.get("model")
        self._arrays: str | None = kept.get("arrays")  # the file with those of the workflow's state
        self._best: str | None = kept.get("best_file")
        self._saved_best = self._best  # in this round, maybe
        self._current: FLModel | None = None  # what lies in the file of the global model
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="flare-rounds")
        self._next_link = 0.0

    def read_state(self) -> dict[str, Any]:
        """What was kept of the last completed round; empty if there is none."""
        self._settle()
        if not self._state_file.is_file():
            return {}
        state: dict[str, Any] = json.loads(self._state_file.read_text())
        if (arrays := state.get("arrays")) is not None:
            kept = read_file(self._folder.server / arrays)
            state["state"] |= {name: _copied(values) for name, values in kept.items()}
        return state

    def load(self, name: str = "global") -> FLModel:
        if name == "initial":
            initial = self._persistor.initial_file(self._code) if self._persistor is not None else None
            return FLModel() if initial is None else FLModel(params=read_file(initial))
        if name != "global":
            self._settle()
            return FLModel() if self._saved_best is None else FLModel(params=read_file(self._path(self._saved_best)))
        self._file, self._model, self._saved_best = self.read_state().get("model"), None, self._best
        if self._file is not None:
            model = FLModel(params=read_file(self._folder.server / self._file))
        else:
            initial = self._persistor.initial_file(self._code) if self._persistor is not None else None
            if initial is None:
                return FLModel()
            link(initial, self._folder.server / "initial.safetensors")
            link(initial, self._folder.checkpoint("global"))
            self._file = "initial.safetensors"
            model = FLModel(params=read_file(initial))
        self._current = model
        return model

    def write(self, name: str, text: str) -> None:
        write_text(self._folder.server / name, text)

    def save(self, model: FLModel, name: str) -> None:
        self._settle()
        if name == "global":
            self._model = model
            return
        self._saved_best = "best-1.safetensors" if self._best == "best-0.safetensors" else "best-0.safetensors"
        if model is self._current and self._file is not None:
            link(self._path(self._file), self._path(self._saved_best))
        else:
            write_file(self._path(self._saved_best), model.params or {})

    def commit(self, round_: int) -> None:
        self._settle()
        model, self._model = self._model, None
        state = {**self.state(), "round": round_, "best_file": self._saved_best}
        if model is not None and _size_of(model) > LARGE_BYTES:
            self._writing = self._writer.submit(self._write, model, state)
        else:
            self._write(model, state)

    def conclude(self, progress: Mapping[str, Any]) -> None:
        """Keep, beside the last round, that no more is to come; for before the sites learn it.

        A server that is started again must not ask them for what they have removed since.
        """
        self._settle()
        kept = json.loads(self._state_file.read_text()) if self._state_file.is_file() else {}
        write_text(self._state_file, json.dumps({**kept, **progress}))

    def close(self) -> None:
        """Write what is pending, and the framework's own formats.

        Raises:
            OSError: something could not be written.
        """
        self._settle()
        self._link_global()
        self._link_best()
        self._writer.shutdown()
        self._current = self._model = None
        for name in ("global", "best"):
            path = self._folder.checkpoint(name)
            if self._persistor is not None and path.is_file():
                self._persistor.export(path)

    def _link_global(self) -> None:
        if self._file is not None:
            link(self._path(self._file), self._folder.checkpoint("global"))

    def _link_best(self) -> None:
        if self._best is not None:
            link(self._path(self._best), self._folder.checkpoint("best"))

    def _path(self, name: str) -> Path:
        return self._folder.server / name

    def _settle(self) -> None:
        """Wait until the last round is on disk."""
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()

    def _write(self, model: FLModel | None, state: dict[str, Any]) -> None:
        before = {self._file, self._arrays, self._best}
        number = f"{state['workflow']}-{state['round']}"
        if model is not None:
            name = f"round-{number}.safetensors"
            write_file(self._folder.server / name, model.params or {})
            self._file, self._current = name, model
        arrays = {name: value for name, value in state["state"].items() if _holds_arrays(value)}
        self._arrays = f"state-{number}.safetensors" if arrays else None
        if self._arrays is not None:
            write_file(self._folder.server / self._arrays, arrays)
            plain = {name: value for name, value in state["state"].items() if name not in arrays}
            state = {**state, "state": plain, "arrays": self._arrays}
        write_text(self._state_file, json.dumps({**state, "model": self._file}))
        if self._best != state["best_file"]:
            self._best = state["best_file"]
            self._link_best()
        if time.monotonic() > self._next_link:
            self._link_global()
            self._next_link = time.monotonic() + LINK_S
        for old in before - {self._file, self._arrays, self._best, None}:
            assert old is not None
            (self._folder.server / old).unlink(missing_ok=True)


def _size_of(model: FLModel) -> int:
    return sum(np.asarray(value).nbytes for _, value in flatten(model.params or {}))


def _holds_arrays(value: Any) -> bool:
    """Whether a part of a workflow's state is a mapping of name to array, nested mappings allowed."""
    return (
        isinstance(value, Mapping) and bool(value) and all(isinstance(leaf, np.ndarray) for _, leaf in flatten(value))
    )


def _copied(params: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays with memory of their own: those that a file holds cannot be changed."""
    return unflatten({key: np.array(value) for key, value in flatten(params)})

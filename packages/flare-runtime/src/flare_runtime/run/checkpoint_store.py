"""The models of a run on disk: public checkpoints, and for a durable run what it needs to be continued after a crash.

    server/global_model.safetensors     the global model
    server/best_model.safetensors       the best model, if one was chosen

A durable run also has the files of its last completed round, of which the two above are then second names:

    server/state.json                   the round, the workflow's state, and the names of the files below
    server/round-<n>.safetensors        the global model
    server/best-<n>.safetensors         the best model so far, <n> being the round that found it
    server/state-<n>.safetensors        the arrays of the workflow's state, if it has any

state.json is replaced when the other files of its round are complete, so they always belong together. ``<n>`` is the
index of the workflow and its round. A workflow may also have a part of a round kept; such a state carries the number of
the round before, with which the files end in ``+`` where their name is taken.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from flare_core import FLModel
from flare_core.files import PARTIAL, link, write_text
from flare_core.job import CodeBundle
from flare_core.model import copied, flatten
from flare_runtime.run.folder import RunFolder
from flare_runtime.run.persistor import SafetensorsPersistor
from flare_tensor_downloader import read_file, write_file

LARGE_BYTES = 1 << 24
MIN_INTERVAL_S = 0.5  # between two writes of a run that is not durable
COST_FACTOR = 9  # the time between two such writes, as a multiple of what the last one took
PREFIXES = {"global": "round", "best": "best"}  # of the files of a round


class CheckpointStore:
    """Keeps the global and the best model of a run.

    A run that is not durable, such as a simulated one, does not wait for the disk: models are written in the
    background, at most twice a second and for at most a tenth of the time, and at the end. A durable run has every
    completed round on disk: a small model when :meth:`commit` returns, a large one while the next round runs. In both,
    at most one large model waits to be written.

    Args:
        folder: of the run.
        persistor: reads the initial model and writes the framework's own format.
        code: where the persistor finds the initial model.
        is_durable: keep what is needed to continue the run after its last completed round.
        state: returns what a durable run keeps of a completed round besides its models: ``workflow``, its index,
            ``state``, its own state, and other values that JSON has.
    """

    def __init__(
        self,
        folder: RunFolder,
        persistor: SafetensorsPersistor,
        code: CodeBundle,
        *,
        is_durable: bool = False,
        state: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        self._folder = folder
        self._persistor = persistor
        self._initial = persistor.initial_file(code)
        self._is_durable = is_durable
        self._state = state
        self._state_file = folder.server / "state.json"
        self._saved: dict[str, FLModel] = {}  # not handed to the writer yet
        self._written: tuple[FLModel, Path] | None = None  # a global model that is on disk, and its file
        self._files: dict[str, str] = {}  # of the last completed round: "global", "best", "arrays"
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="flare-checkpoints")
        self._writing: Future[None] | None = None
        self._next_write = 0.0
        self._next_within = 0.0
        if is_durable:
            self._files = self._read_state().get("files", {})
            for path in folder.server.glob(PARTIAL):  # of a process that was killed
                path.unlink()

    def resume(self) -> dict[str, Any]:
        """Go back to the last completed round of a durable run and return its state; empty if there is none."""
        if not self._is_durable:
            return {}
        self._settle()
        self._saved, self._written = {}, None
        kept = self._read_state()
        if "arrays" in self._files:
            arrays = read_file(self._folder.server / self._files["arrays"])
            kept["state"] |= {name: copied(values) for name, values in arrays.items()}
        return kept

    def go_back(self, began: Mapping[str, Any]) -> dict[str, Any]:
        """Forget the rounds of a workflow that begins again, and return the state that there is now.

        Args:
            began: the state in which it began; empty for the first one, whose models are forgotten, too.
        """
        if began:
            files = {name: file for name, file in self._files.items() if name != "arrays"}
            write_text(self._state_file, json.dumps({**began, "files": files}))
            self._files = files
            return dict(began)
        self._state_file.unlink()
        for path in (*map(self._folder.server.joinpath, self._files.values()), *map(self._folder.checkpoint, PREFIXES)):
            path.unlink(missing_ok=True)
        self._files = {}
        return {}

    def load(self, name: str = "global") -> FLModel:
        """Return the model that was saved last as ``global`` or ``best``, or the ``initial`` one.

        Without a saved one, ``global`` is the initial model. A model that does not exist has no params.
        """
        if name == "initial":
            return FLModel() if self._initial is None else FLModel(params=read_file(self._initial))
        self._settle()
        if name in self._saved:
            return self._saved[name]
        if name == "global" and not self._is_durable and self._written is not None:
            return self._written[0]
        path = self._path_of(name)
        if path is None:
            return self._load_initial() if name == "global" else FLModel()
        model = FLModel(params=read_file(path))  # mapped into memory, and read where it is used
        if name == "global":
            self._written = (model, path)
        return model

    def save(self, model: FLModel, name: str) -> None:
        """Keep ``model`` as the ``global`` or ``best`` one; it must not change afterwards.

        In a durable run, it counts when the round is committed.

        Raises:
            OSError: an earlier one could not be written.
        """
        is_large = _is_large(model)
        if is_large or self._is_durable or not self._is_writing:
            self._settle()
        if name == "global" and "best" not in self._saved:
            self._written = None  # nothing will be linked to its file; do not hold two models
        self._saved[name] = model
        is_due = time.monotonic() >= self._next_write or (is_large and name == "best")
        if is_due and not self._is_durable and not self._is_writing:
            models, self._saved = self._saved, {}
            self._writing = self._writer.submit(self._write_checkpoints, models)

    def write(self, name: str, text: str) -> None:
        """Keep a text file beside the checkpoints, or in a folder there."""
        path = self._folder.server / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)

    def commit(self, round_: int) -> None:
        """Record that a round of a durable run is complete, with the models that were saved in it.

        Raises:
            OSError: this or the previous round could not be written.
        """
        if not self._is_durable:
            return
        self._settle()
        models, self._saved = self._saved, {}
        state = {**self._state(), "round": round_}
        if any(_is_large(model) for model in models.values()):
            self._writing = self._writer.submit(self._write_round, models, state)
        else:
            self._write_round(models, state)

    def commit_within(self, round_: int) -> None:
        """Record what was done so far of a round of a durable run; does nothing if that takes too much of the time.

        Raises:
            OSError: this or the previous round could not be written.
        """
        started = time.monotonic()
        if self._is_durable and started >= self._next_within:
            self.commit(round_ - 1)
            self._next_within = time.monotonic() + COST_FACTOR * (time.monotonic() - started)

    def conclude(self, progress: Mapping[str, Any]) -> None:
        """Record that no round of a durable run is to come, before the sites learn it.

        A server that is started again must not ask them for what they have removed since.
        """
        if self._is_durable:
            self._settle()
            write_text(self._state_file, json.dumps({**self._read_state(), **progress}))

    def close(self) -> None:
        """Write what is pending, and the framework's own formats.

        Raises:
            OSError: something could not be written.
        """
        self._writer.shutdown()
        error = None if self._writing is None else self._writing.exception()
        if self._is_durable:
            self._publish(PREFIXES)
        else:
            self._write_checkpoints(self._saved)
        self._saved, self._written = {}, None  # whoever still holds this object need not hold a model
        for name in ("global", "best"):
            path = self._folder.checkpoint(name)
            if path.is_file():
                self._persistor.export(path)
        if error is not None:
            raise error

    @property
    def _is_writing(self) -> bool:
        return self._writing is not None and not self._writing.done()

    def _settle(self) -> None:
        """Wait until nothing is being written; raise what has gone wrong in it."""
        if self._writing is not None:
            self._writing.result()

    def _path_of(self, name: str) -> Path | None:
        if self._is_durable:
            return self._folder.server / self._files[name] if name in self._files else None
        path = self._folder.checkpoint(name)
        return path if path.is_file() else None

    def _load_initial(self) -> FLModel:
        if self._initial is None:
            return FLModel()
        model = FLModel(params=read_file(self._initial))
        self._written = (model, self._initial)
        if self._is_durable:
            link(self._initial, self._folder.checkpoint("global"))
        else:
            self._saved["global"] = model
        return model

    def _read_state(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(self._state_file.read_text()) if self._state_file.is_file() else {}
        return state

    def _write_checkpoints(self, models: dict[str, FLModel]) -> None:
        started = time.monotonic()
        self._write(models, {name: self._folder.checkpoint(name) for name in models})
        now = time.monotonic()
        self._next_write = now + max(MIN_INTERVAL_S, COST_FACTOR * (now - started))

    def _write_round(self, models: dict[str, FLModel], state: dict[str, Any]) -> None:
        number = f"{state['workflow']}-{state['round']}"
        files = self._files | {name: self._new_file(f"{PREFIXES[name]}-{number}") for name in models}
        self._write(models, {name: self._folder.server / files[name] for name in models})
        arrays = {name: value for name, value in state["state"].items() if _holds_arrays(value)}
        files.pop("arrays", None)
        if arrays:
            files["arrays"] = self._new_file(f"state-{number}")
            write_file(self._folder.server / files["arrays"], arrays)
        plain = {name: value for name, value in state["state"].items() if name not in arrays}
        write_text(self._state_file, json.dumps({**state, "state": plain, "files": files}))
        superseded, self._files = set(self._files.values()) - set(files.values()), files
        self._publish(models)
        for file in superseded:
            (self._folder.server / file).unlink(missing_ok=True)

    def _new_file(self, stem: str) -> str:
        """Return a name that no file of the last state has, which must stay complete until it is replaced."""
        while f"{stem}.safetensors" in self._files.values():
            stem += "+"
        return f"{stem}.safetensors"

    def _write(self, models: Mapping[str, FLModel], targets: Mapping[str, Path]) -> None:
        """Write models, or link them to files that hold them already."""
        written = [] if self._written is None else [self._written]
        for name in sorted(models):  # "best" first: it can be in the file that "global" is about to replace
            model, target = models[name], targets[name]
            source = next((path for each, path in written if each is model), None)
            if source is None:
                write_file(target, model.params or {})
            else:
                link(source, target)
            written.append((model, target))
            if name == "global":
                self._written = (model, target)

    def _publish(self, names: Iterable[str]) -> None:
        """Give models of the last completed round their public names."""
        for name in names:
            if name in self._files:
                link(self._folder.server / self._files[name], self._folder.checkpoint(name))


def _is_large(model: FLModel) -> bool:
    return sum(np.asarray(value).nbytes for _, value in flatten(model.params or {})) > LARGE_BYTES


def _holds_arrays(value: Any) -> bool:
    """Return whether a part of a workflow's state is a mapping of name to array, nested mappings allowed."""
    return (
        isinstance(value, Mapping) and bool(value) and all(isinstance(leaf, np.ndarray) for _, leaf in flatten(value))
    )

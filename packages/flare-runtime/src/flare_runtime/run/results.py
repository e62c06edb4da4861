"""The results of a run that has ended, read from its folder in the same way wherever it ran."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flare_core import FlareError, JobAborted, JobFailed, RunStatus
from flare_core.events import Event
from flare_runtime.display import count
from flare_runtime.run.event_log import EVENTS, read_events
from flare_runtime.run.folder import RunFolder
from flare_runtime.run.persistor import SafetensorsPersistor
from flare_runtime.run.record import number_of, read_metrics, read_summary
from flare_tensor_downloader import read_file

MODELS = ("global", "best")


@dataclass(eq=False, repr=False)
class RunResults:
    """The folder of a run, and how the run ended.

    Args:
        persistor: the job's, which turns arrays into those of the recipe's framework.
        error: what ended the run, if it did not finish.
    """

    _folder: RunFolder
    _persistor: SafetensorsPersistor
    _status: RunStatus
    _error: object

    def get_result(self, timeout: float | None = None, *, raise_on_failure: bool = True) -> Path:
        """Return the run's folder.

        Raises:
            JobFailed: the run failed; the message carries the site's traceback.
            JobAborted: it was stopped.
        """
        if raise_on_failure and self._status is RunStatus.FAILED:
            raise self._failed(self._reason())
        if raise_on_failure and self._status is RunStatus.ABORTED:
            raise JobAborted(f"{self._error} (run folder: {self._folder.path})")
        return self._folder.path

    def load_model(self, name: str = "global", *, raise_on_failure: bool = True) -> dict[str, Any]:
        """Return the params of the ``global`` or ``best`` checkpoint, as arrays of the recipe's framework.

        The global model of a run that did not finish is that of its last completed round; it is returned only with
        ``raise_on_failure=False``.

        Raises:
            JobFailed, JobAborted: the run did not finish; the message names the round of its model.
            FlareError: there is no such checkpoint; gives the reason.
        """
        if name not in MODELS:
            raise FlareError(f"load_model() was asked for {name!r}; a run keeps the models {' and '.join(MODELS)}")
        path = self._folder.checkpoint(name)
        if raise_on_failure and self._status is not RunStatus.FINISHED:
            kept = f"; load_model({name!r}, raise_on_failure=False) returns it" if path.is_file() else ""
            text = f"the run {self._status.value}{self._progress(name)}{kept}\n{self._reason()}"
            raise self._failed(text) if self._status is RunStatus.FAILED else JobAborted(text)
        if not path.is_file():
            raise FlareError(
                f"the run kept no '{name}' model: {self._why_none(name)}; its folder is {self._folder.path}"
            )
        return self._persistor.to_framework(read_file(path))

    def metrics(self) -> list[dict[str, Any]]:
        """Return every number of the run: rows with round, site (None for the federation), key and value.

        Values are as the sites reported them: numbers, which may be NaN or infinite, or text.
        """
        return [{**row, "value": number_of(row["value"])} for row in read_metrics(self._folder.metrics)]

    def events(self, *, follow: bool = False) -> Iterator[Event]:
        """Yield every event of the run, in order; the run has ended, so ``follow`` makes no difference."""
        return read_events(self._folder.path / EVENTS)

    def summary(self) -> dict[str, Any]:
        """Return the content of summary.json, with the paths at which the files are now."""
        return read_summary(self._folder)

    def describe(self, kind: str, job_id: str) -> str:
        """Return the run in one line, for ``repr``."""
        return f"<{kind} {job_id}: {self._status.value}, {self._folder.path}>"

    def _failed(self, message: str) -> JobFailed:
        """Return the error of a failed run, with what its summary tells about the failure."""
        try:
            failure = self.summary().get("failure") or {}
        except (OSError, ValueError):  # the disk was full, say; the run's failure matters more
            failure = {}
        log = self._folder.path / failure.get("log", "log.txt")
        return JobFailed(
            message,
            site=failure.get("site"),
            round=failure.get("round"),
            cause=failure.get("cause") or str(self._error),
            traceback=failure.get("traceback"),
            log=log if log.is_file() else None,
        )

    def _reason(self) -> str:
        return f"{self._error}\n(run folder: {self._folder.path})"

    def _progress(self, name: str) -> str:
        """How far a run came that did not finish, and so which model it has kept."""
        summary = self.summary()
        rounds, best = int(summary.get("rounds", 0)), summary.get("best")
        if not self._folder.checkpoint(name).is_file():
            return f" after {count(rounds, 'round')} and kept no '{name}' model"
        if name == "best" and best:
            return f" after {count(rounds, 'round')}; its best model is that of round {best['round']}"
        which = "that of the last round that was completed" if rounds else "the one that it began with"
        return f" after {count(rounds, 'round')}; its model is {which}"

    def _why_none(self, name: str) -> str:
        summary = self.summary()
        if not summary.get("rounds"):
            return "no round was completed; summary.json says why"
        if name == "global":
            return "its workflow saves none"
        wanted = summary.get("chosen_by")
        if wanted is None:
            return "its recipe chooses none, as it has no key_metric"
        keys = sorted({row["key"] for row in self.metrics() if row["round"] is not None})
        if wanted in keys:
            return f"no model was chosen by its key_metric '{wanted}', though sites reported it"
        reported = f"those of the run are {', '.join(keys)}" if keys else "the run has no metrics"
        return f"no site reported a finite number for its key_metric '{wanted}' ({reported}); give key_metric=…"

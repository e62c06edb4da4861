"""What is left of a run that has ended; read the same way wherever it ran."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from flare_core import FlareError, JobAborted, JobFailed, RunStatus
from flare_runtime.run.checkpoints import Persistor
from flare_runtime.run.folder import RunFolder
from flare_runtime.run.record import read_metrics
from flare_tensor_downloader import read_file

__all__ = ["RunResults"]


class RunResults:
    """The folder of a run, and how the run ended.

    Args:
        persistor: the job's, which turns arrays into those of the recipe's framework.
        error: what ended the run, if it did not finish.
    """

    def __init__(self, folder: RunFolder, persistor: Persistor | None, status: RunStatus, error: object) -> None:
        self._folder = folder
        self._persistor = persistor
        self._status = status
        self._error = error

    def path(self, *, raise_on_failure: bool) -> Path:
        """The folder.

        Raises:
            JobFailed: the run failed; the message carries the site's traceback.
            JobAborted: it was stopped.
        """
        if raise_on_failure and self._status is RunStatus.FAILED:
            raise JobFailed(f"{self._error}\n(run folder: {self._folder.path})")
        if raise_on_failure and self._status is RunStatus.ABORTED:
            raise JobAborted(f"{self._error} (run folder: {self._folder.path})")
        return self._folder.path

    def load_model(self, name: str) -> dict[str, Any]:
        """The params of the ``global`` or ``best`` checkpoint, as arrays of the recipe's framework.

        Raises:
            FlareError: there is no such checkpoint.
        """
        path = self._folder.checkpoint(name)
        if not path.is_file():
            hint = "no site reported the key metric" if name == "best" else "the run ended before its first round"
            raise FlareError(f"the run kept no '{name}' model ({hint}); its folder is {self._folder.path}")
        params = read_file(path)
        return self._persistor.to_framework(params) if self._persistor is not None else params

    def metrics(self) -> list[dict[str, Any]]:
        """Every number of the run: rows with round, site (None for the federation), key and value."""
        return read_metrics(self._folder.metrics)

    def summary(self) -> dict[str, Any]:
        """The content of summary.json."""
        summary: dict[str, Any] = json.loads(self._folder.summary.read_text(encoding="utf-8"))
        return summary

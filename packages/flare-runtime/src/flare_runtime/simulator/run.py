"""SimRun: the results of a simulated run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flare_core import RunStatus
from flare_core.events import Event
from flare_runtime.run.failure import reason_of
from flare_runtime.run.folder import RunFolder
from flare_runtime.run.persistor import Persistor
from flare_runtime.run.results import RunResults

__all__ = ["SimRun"]


class SimRun:
    """A run that has ended, made by :class:`SimEnv`."""

    def __init__(
        self,
        folder: RunFolder,
        job_id: str,
        status: RunStatus,
        error: BaseException | None,
        persistor: Persistor | None,
    ) -> None:
        self._job_id = job_id
        self._status = status
        self._results = RunResults(folder, persistor, status, reason_of(error))

    def __repr__(self) -> str:
        return self._results.describe("SimRun", self._job_id)

    def get_job_id(self) -> str:
        """Return the run's id: the job's name and the time of its start."""
        return self._job_id

    def get_status(self) -> RunStatus:
        """Return the status: finished, failed or aborted."""
        return self._status

    def get_result(self, timeout: float | None = None, *, raise_on_failure: bool = True) -> Path:
        """Return the run's folder.

        Raises:
            JobFailed: the run failed; the message carries the site's traceback.
            JobAborted: it was stopped.
        """
        return self._results.path(raise_on_failure=raise_on_failure)

    def load_model(self, name: str = "global", *, raise_on_failure: bool = True) -> dict[str, Any]:
        """Return the params of the ``global`` or ``best`` checkpoint, as arrays of the recipe's framework.

        The global model of a run that did not finish is that of its last completed round; it is returned only with
        ``raise_on_failure=False``.

        Raises:
            JobFailed, JobAborted: the run did not finish; the message names the round of its model.
            FlareError: there is no such checkpoint; gives the reason.
        """
        return self._results.load_model(name, raise_on_failure=raise_on_failure)

    def metrics(self) -> list[dict[str, Any]]:
        """Return every number of the run: rows with round, site (None for the federation), key and value."""
        return self._results.metrics()

    def events(self, *, follow: bool = False) -> Iterator[Event]:
        """Yield every event of the run, in order.

        Args:
            follow: makes no difference: the run has ended by the time that :meth:`SimEnv.deploy` returns it.
        """
        return self._results.events()

    def summary(self) -> dict[str, Any]:
        """Return the content of summary.json."""
        return self._results.summary()

    def abort(self) -> None:
        """Do nothing: the run has ended."""

"""A simulated run: what is left of it."""

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
    """A run, made by :class:`SimEnv`; it has ended by then."""

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
        """The run's id: its job's name and the time of its start."""
        return self._job_id

    def get_status(self) -> RunStatus:
        """Finished, failed or aborted."""
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

        The global model of a run that did not finish is that of the last round that it completed; it is returned only
        with ``raise_on_failure=False``.

        Raises:
            JobFailed, JobAborted: the run did not finish; the message says which round its model is of.
            FlareError: there is no such checkpoint; says why.
        """
        return self._results.load_model(name, raise_on_failure=raise_on_failure)

    def metrics(self) -> list[dict[str, Any]]:
        """Every number of the run: rows with round, site (None for the federation), key and value."""
        return self._results.metrics()

    def events(self, *, follow: bool = False) -> Iterator[Event]:
        """Yield every event of the run, in order.

        Args:
            follow: makes no difference: the run has ended by the time that :meth:`SimEnv.deploy` returns it.
        """
        return self._results.events()

    def summary(self) -> dict[str, Any]:
        """The content of summary.json."""
        return self._results.summary()

    def abort(self) -> None:
        """Do nothing: the run has ended."""

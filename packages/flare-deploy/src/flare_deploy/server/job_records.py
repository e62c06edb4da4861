"""JobRecords: write the state of jobs to the database, and retry with backoff while that is not possible.

Neither a full disk nor an unavailable database may end a job or lose its outcome. So each change stays in memory until
it is written, and a thread retries what has failed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flare_core import RunStatus
from flare_deploy.server.store import DatabaseError, JobRow, Store
from flare_runtime.run.record import write_summary

logger = logging.getLogger(__name__)

MIN_BACKOFF_S, MAX_BACKOFF_S = 0.2, 5.0


@dataclass(slots=True)
class _Outcome:
    """The end of a job, and why it is not recorded yet."""

    row: JobRow
    status: RunStatus
    reason: str
    ended: float
    problem: str = ""


class JobRecords:
    """The state of the server's jobs, as recorded in the database.

    Args:
        store: the database.
        jobs_folder: holds a folder for each job; the outcome is also written to the run's summary.json there.
        changed: notified after each write; its lock guards this object.
        schedule: starts the jobs that can run. It reads the database, so it is called before the retries end.
        ended: called with the id of a job whose end is recorded.
    """

    def __init__(
        self,
        store: Store,
        jobs_folder: Path,
        changed: threading.Condition,
        schedule: Callable[[], None],
        ended: Callable[[str], None],
    ) -> None:
        self._store = store
        self._jobs_folder = jobs_folder
        self._changed = changed
        self._schedule = schedule
        self._ended = ended
        self._unsaved: dict[str, dict[str, Any]] = {}  # changes by job
        self._unrecorded: dict[str, _Outcome] = {}  # by job
        self._is_retrying = False
        self._is_closed = False

    def close(self) -> None:
        """Give up retrying; the server is being stopped."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def update(self, job: str, **changes: Any) -> None:
        """Change values of a job's row."""
        with self._changed:
            self._unsaved[job] = {**self._unsaved.get(job, {}), **changes}
            self._save()

    def is_written(self, job: str) -> bool:
        """Return True if the database holds all that is known of a job."""
        return job not in self._unsaved and job not in self._unrecorded

    def record_end(self, row: JobRow, status: RunStatus, reason: str) -> None:
        """Record how a job ended, in its summary.json and in the database."""
        with self._changed:
            self._unrecorded[row.id] = _Outcome(row, status, reason, time.time())
            self._record_ends()

    def unrecorded_end(self, job: str) -> str | None:
        """Describe the outcome of a job that has ended but could not be recorded yet; None for any other job."""
        end = self._unrecorded.get(job)
        return None if end is None else f"its end ({end.status.value}) to be recorded{end.problem}"

    def retry(self, error: Exception) -> None:
        """Retry on a thread until everything is written and jobs can be scheduled."""
        logger.error("the database or the disk cannot be used now, retrying reason=%s", error)
        if not self._is_retrying:
            self._is_retrying = True
            threading.Thread(target=self._retry, name="flare-retry", daemon=True).start()

    def _record_ends(self) -> None:
        for id_, end in list(self._unrecorded.items()):
            summary = self._jobs_folder / id_ / "run" / "summary.json"
            values = {"outcome": end.status.value, "job": end.row.name, "job_id": id_, "error": end.reason or None}
            changes = self._unsaved.get(id_, {}) | {"state": end.status.value, "reason": end.reason, "ended": end.ended}
            try:
                if not summary.is_file():
                    summary.parent.mkdir(parents=True, exist_ok=True)  # the folder may have been lost
                    write_summary(summary, values)
                self._store.update_job(id_, **changes)
            except (OSError, DatabaseError) as error:
                end.problem = f", which is not possible yet: {error}"
                self.retry(error)
            else:
                del self._unrecorded[id_]
                self._unsaved.pop(id_, None)
                self._changed.notify_all()
                self._ended(id_)

    def _save(self) -> None:
        for id_, changes in list(self._unsaved.items()):
            try:
                self._store.update_job(id_, **changes)
            except DatabaseError as error:
                return self.retry(error)
            del self._unsaved[id_]
            self._changed.notify_all()

    def _retry(self) -> None:
        backoff_s = MIN_BACKOFF_S
        while True:
            with self._changed:
                if self._changed.wait_for(lambda: self._is_closed, backoff_s):
                    return
                self._record_ends()
                self._save()
                if not self._unrecorded and not self._unsaved and self._can_schedule():
                    self._is_retrying = False
                    logger.info("all pending changes are written")
                    return
            backoff_s = min(2 * backoff_s, MAX_BACKOFF_S)

    def _can_schedule(self) -> bool:
        try:
            self._schedule()
        except DatabaseError:
            return False
        return True

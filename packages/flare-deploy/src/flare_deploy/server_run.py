"""ServerRun: the run of a submitted job, as seen by its submitter."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from flare_core import RunStatus
from flare_core.events import Event, EventBus, RoundEnded, RunStarted
from flare_deploy.admin import Admin
from flare_deploy.server_connection import AdminError
from flare_runtime.display import Display, open_display, summary_text
from flare_runtime.run.folder import RunFolder
from flare_runtime.run.persistor import SafetensorsPersistor
from flare_runtime.run.record import read_summary, write_summary
from flare_runtime.run.results import RunResults
from flare_runtime.tracking.mlflow_store import copy_run


class ServerRun:
    """The run of a job at a server.

    Args:
        admin: the connection over which the job was submitted; closed when the result was downloaded.
        job: the job, as the server describes it.
        workspace: the folder in which the run's folder is created.
        persistor: the job's; converts arrays to those of the recipe's framework.
    """

    def __init__(self, admin: Admin, job: dict[str, Any], workspace: Path, persistor: SafetensorsPersistor) -> None:
        self._admin = admin
        self._job = job
        self._workspace = workspace
        self._persistor = persistor
        self._done: Callable[[], Any] | None = None
        self._owner: Any = None
        self._results: RunResults | None = None
        self._follower = _Follower(admin, job)
        self._lock = threading.Lock()
        admin.connection.notify = self._follower.note

    def when_done(self, callback: Callable[[], Any], owner: Any) -> None:
        """Call ``callback`` when the server is no longer needed, and keep a reference to ``owner`` until then."""
        self._done, self._owner = callback, owner
        self._admin.connection.patience_s = 0.0  # that server belongs to this process, so it would not be restarted

    def __repr__(self) -> str:
        name = f"{self._job['name']}/{self.get_job_id()}"
        if self._results is not None:
            return self._results.describe("ServerRun", name)
        return f"<ServerRun {name}: {self._job['state']} when last asked>"

    def get_job_id(self) -> str:
        """Return the id of the job at the server."""
        id_: str = self._job["id"]
        return id_

    def get_status(self) -> RunStatus:
        """Return the current state of the run."""
        if not RunStatus(self._job["state"]).has_ended:
            self._job = self._admin.job(self.get_job_id())
        return RunStatus(self._job["state"])

    def get_result(self, timeout: float | None = None, *, raise_on_failure: bool = True) -> Path:
        """Wait for the end of the run while showing its progress; download its folder and return the path.

        Raises:
            JobFailed: the run has failed; the message carries the site's traceback.
            JobAborted: it was aborted.
            TimeoutError: it has not ended after ``timeout`` seconds.
        """
        return self._ended(timeout).get_result(raise_on_failure=raise_on_failure)

    def load_model(self, name: str = "global", *, raise_on_failure: bool = True) -> dict[str, Any]:
        """Wait for the end, then return the params of the ``global`` or ``best`` checkpoint, in the framework's form.

        A run that did not finish has the global model of its last completed round, which is returned only with
        ``raise_on_failure=False``.

        Raises:
            JobFailed, JobAborted: the run did not finish; the message names the round of its model.
            FlareError: there is no such checkpoint; says why.
        """
        return self._ended().load_model(name, raise_on_failure=raise_on_failure)

    def metrics(self) -> list[dict[str, Any]]:
        """Wait for the end, then return all metrics of the run."""
        return self._ended().metrics()

    def events(self, *, follow: bool = False) -> Iterator[Event]:
        """Wait for the end, then yield every event of the run, in order.

        Args:
            follow: do not wait: yield what has happened so far, then each event as it happens, up to ``RunEnded``. A
                round that begins again after a crash of the server has its events twice then.
        """
        if follow and self._results is None:
            return self._admin.follow(self.get_job_id())
        return self._ended().events()

    def summary(self) -> dict[str, Any]:
        """Wait for the end, then return the content of summary.json."""
        return self._ended().summary()

    def abort(self) -> None:
        """Abort the run; do nothing if it has ended."""
        if not self.get_status().has_ended:
            self._admin.abort(self.get_job_id())

    def _ended(self, timeout: float | None = None) -> RunResults:
        with self._lock:
            if self._results is None:
                try:
                    self._follower.start()  # continues after a timeout, so that it shows the run to its end
                    self._job = self._admin.wait(self.get_job_id(), timeout)
                except KeyboardInterrupt:
                    self._follower.note(self._interrupted_text())
                    raise
                self._results = self._fetch()
            return self._results

    def _interrupted_text(self) -> str:
        id_ = self.get_job_id()
        if self._owner is not None:  # the server ends with this process
            return f"the wait for the job {id_} was interrupted"
        return f"the job {id_} continues: 'flare job wait {id_}' waits for it, 'flare job abort {id_}' aborts it"

    def _fetch(self) -> RunResults:
        follower = self._follower
        follower.finish()
        folder = RunFolder.create(self._workspace, self._job["name"], self.get_job_id())
        try:
            self._admin.download(self.get_job_id(), folder.path)
        finally:
            self._admin.close()
            if self._done is not None:
                self._done()
        summary = read_summary(folder)
        write_summary(folder.summary, summary)
        if problem := copy_run(folder.path, self._workspace):
            follower.note(f"warning: {problem}")
        if "bytes" in summary:
            follower.note(summary_text(summary, follower.curve(summary.get("key_metric"))))
        return RunResults(folder, self._persistor, RunStatus(self._job["state"]), self._job["reason"])


class _Follower:
    """A thread that shows the progress of a run."""

    def __init__(self, admin: Admin, job: dict[str, Any]) -> None:
        self._admin = admin
        self._job = job
        self._display: Display | None = None
        self._events = EventBus()
        self._rounds: list[RoundEnded] = []
        self._events.subscribe(RunStarted, self._run_started)
        self._events.subscribe(RoundEnded, self._rounds.append)
        self._thread = threading.Thread(target=self._follow, name="flare-follow", daemon=True)

    def start(self) -> None:
        """Start to show it, unless that was done before."""
        if self._thread.ident is None:
            self._thread.start()

    def finish(self) -> None:
        """Show the rest of a run that has ended, and return when that is done."""
        self._thread.join()
        if self._display is not None:
            self._display.close()

    def note(self, text: str) -> None:
        """Show a message that is not an event."""
        if self._display is not None:
            self._display.note(text)
        else:
            sys.stdout.write(f"{text}\n")

    def curve(self, key: str | None) -> list[tuple[int, float]]:
        """Return the values of a metric, with their rounds."""
        return [(each.round, each.metrics[key]) for each in self._rounds if key in each.metrics]

    def _follow(self) -> None:
        shown = ""
        try:
            for job in self._admin.changes(self._job["id"]):
                if job["state"] == RunStatus.WAITING.value and job["reason"] != shown:
                    shown = job["reason"]
                    self.note(f"{job['name']} is waiting: {shown}")
                if job["state"] not in (RunStatus.SUBMITTED.value, RunStatus.WAITING.value):
                    break
            for event in self._admin.follow(self._job["id"]):
                self._events.emit(event)
        except (AdminError, ValueError) as error:
            self.note(f"the progress of the run can no longer be shown ({error}); the run continues")

    def _run_started(self, event: RunStarted) -> None:
        if self._display is None:
            self._display = open_display(event.job_name, len(event.sites))
            self._display.attach(self._events)

"""The server's part of a run, from the first round to the summary; the same in every environment."""

from __future__ import annotations

import logging
import time
import traceback
from contextlib import suppress
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter
from typing import Any, Protocol

from flare_core import (
    FlareError,
    Job,
    JobAborted,
    JobError,
    Observer,
    RunStatus,
    Service,
    SiteError,
    Workflow,
)
from flare_core.events import Event, ModelSaved, RoundEnded, RunEnded, RunStarted
from flare_core.filters import chains
from flare_core.observer import ObservedRun, attach_observers
from flare_core.parameters import parameters_of
from flare_core.service import components_of
from flare_runtime.endpoint.at_server import ServerHub
from flare_runtime.endpoint.directory import SERVER
from flare_runtime.endpoint.services import Context, Services
from flare_runtime.job_code import register_types
from flare_runtime.run.checkpoint_store import CheckpointStore
from flare_runtime.run.dispatch import Dispatch
from flare_runtime.run.event_log import EventLog
from flare_runtime.run.failure import failure_of, reason_of
from flare_runtime.run.federation import SitesFederation, Waits
from flare_runtime.run.folder import RunFolder
from flare_runtime.run.incoming import Logged, Warned
from flare_runtime.run.persistor import Persistor
from flare_runtime.run.record import number_of, read_metrics, write_summary
from flare_runtime.run.roster import Roster
from flare_runtime.run.warnings import RunWarnings
from flare_runtime.system import own_peak_bytes
from flare_tensor_downloader import Downloader, DownloadError
from flare_tensor_downloader.errors import StalledError
from flare_transport import Cell, TransportError

__all__ = ["Crew", "RunController", "persistor_of"]

logger = logging.getLogger(__name__)

MOST_INTERRUPTIONS = 5  # of one round, by sites that are lost while their results are read


class Crew(Protocol):
    """The processes that serve the sites, as the controller sees them."""

    def start(self) -> None:
        """Connect to the processes; return when the run can begin."""

    def wait(self) -> None:
        """Wait until the sites' scripts have ended."""

    def stop(self) -> None:
        """End the processes that still run."""

    def usage(self) -> dict[str, dict[str, float]]:
        """Return peak memory and CPU seconds by process."""


class RunController:
    """Runs the workflows of one job; for one use.

    The constructor builds the job's components, so errors in the job are found before any process starts.

    Args:
        job: the job to run; its code must be importable.
        roster: the sites.
        cell: the server's cell.
        is_durable: keep each completed round on disk, and continue after the last one that is there.
        hub: the server's hub for endpoints, if it had to exist before.
    Raises:
        JobError: a component of the job cannot be built.
    """

    def __init__(
        self,
        job: Job,
        job_id: str,
        folder: RunFolder,
        roster: Roster,
        cell: Cell,
        *,
        is_durable: bool = False,
        hub: ServerHub | None = None,
    ) -> None:
        register_types(job)
        self.persistor = persistor_of(job)
        _workflows(job)
        self._filters = [chains(each) for each in (job.server.task_data_filters, job.server.task_result_filters)]
        parts = components_of(job.server.components)
        self._observers = [each for each in parts if isinstance(each, Observer)]
        self._service_parts = [each for each in parts if isinstance(each, Service)]
        self._hub = hub or ServerHub(cell)
        self._job = job
        self._job_id = job_id
        self._folder = folder
        self._roster = roster
        self._cell = cell
        self._is_durable = is_durable
        self._started = time.monotonic()
        self._rounds: list[RoundEnded] = []
        self._completed = 0  # rounds, those before the process was started included
        self._traffic: list[tuple[int, int]] = []  # sent and received by the server, after each round
        self._best: dict[str, Any] | None = None
        self._kept_warnings: list[tuple[str, list[str]]] = []  # of before the process was started again
        self._last: dict[int, dict[str, float]] = {}  # metrics of each workflow's last round
        self._at = 0  # which workflow runs
        self._workflow: Workflow | None = None
        self._is_over = False  # whether that has returned
        self.key_metric: str | None = None
        self.federation: SitesFederation

    def prepare(self) -> None:
        """Make the federation. Afterwards the process has threads, so it must not be forked any more."""
        self._store = CheckpointStore(
            self._folder, self.persistor, self._job.code, is_durable=self._is_durable, state=self._state
        )
        self.log = EventLog(self._folder)
        self._take_over(self._store.resume())
        meta = self._job.meta
        self.federation = SitesFederation(
            job_id=self._job_id,
            seed=self._job.seed,
            roster=self._roster,
            cell=self._cell,
            dispatch=Dispatch(self._cell, Downloader(self._cell), self._roster, *self._filters),
            checkpoints=self._store,
            config=self._job.server.config,
            **({} if self.persistor is None else {"to_framework": self.persistor.to_framework}),
            waits=Waits(
                **{key: meta[key] for key in ("reconnect_grace_s", "round_deadline_s") if meta.get(key) is not None}
            ),
        )
        self._first_state = self.federation.state
        self._prepare_services()
        self.federation.warnings = RunWarnings(self._kept_warnings)
        self.federation.events.subscribe(Event, self.log.write)
        self.federation.events.subscribe(RoundEnded, self._round_ended)
        self.federation.events.subscribe(ModelSaved, self._model_saved)
        folder = self._folder.server.absolute()
        events, warn = self.federation.events, self.federation.warn
        recipe = parameters_of(self._job)
        run = ObservedRun(self._job.name, self._job_id, None, folder, events, warn, recipe, self._folder.workspace)
        try:
            attach_observers(self._observers, run)
        except JobError:
            self._store.close()
            self.log.close()
            raise

    def run(self, crew: Crew) -> tuple[RunStatus, BaseException | None, dict[str, Any]]:
        """Run to the end, whatever it is; return the status, the error and the summary that was written."""
        federation = self.federation
        status: RunStatus = RunStatus.FINISHED
        error: BaseException | None = None
        try:
            self._services.start()
            self._hub.open()
            crew.start()
            self.emit(RunStarted(self._job.name, federation.sites))
            self._run_workflows()
            federation.finish()
            crew.wait()
            federation.drain()
        except (KeyboardInterrupt, JobAborted) as problem:
            status, error = RunStatus.ABORTED, problem
        except SystemExit as problem:  # raised by a component; the run did not get to its end
            status = RunStatus.FAILED
            error = JobError(f"a component on the server called sys.exit({problem.code!r})")
            logger.error("run failed\n%s", traceback.format_exc())
        except Exception as problem:
            status, error = RunStatus.FAILED, self._with_its_site(problem)
            logger.error("run failed\n%s", traceback.format_exc())
        self.stop_services("the run is over" if error is None else f"the run has ended: {reason_of(error)}")
        crew.stop()
        federation.drain()  # a process may have failed after its last reply, which must not pass for success
        if self._roster.failures and status is not RunStatus.ABORTED:
            status, error = RunStatus.FAILED, next(iter(self._roster.failures.values()))
        for close in (self._store.close, self.log.flush):
            try:
                close()
            except Exception as problem:  # a full disk, or a component that writes its framework's format
                logger.exception("results of the run cannot be written")
                status, error = RunStatus.FAILED if status is RunStatus.FINISHED else status, error or problem
        try:
            write_summary(self._folder.summary, self._summary(status, error, crew))
            self.emit(RunEnded(status, reason_of(error) or ""))
            self.log.close()
        except Exception as problem:  # a full disk, or an observer
            logger.exception("end of the run cannot be recorded or announced")
            status, error = RunStatus.FAILED if status is RunStatus.FINISHED else status, error or problem
            with suppress(OSError):
                self.log.write(RunEnded(status, reason_of(error) or ""))
                self.log.close()
            with suppress(OSError):  # if this fails too, the launcher of the run reports the status
                write_summary(self._folder.summary, self._summary(status, error, crew))
        return status, error, self._summary(status, error, crew)

    def _prepare_services(self) -> None:
        federation, roster = self.federation, self._roster
        self._hub.begin(roster.sites, roster.may_serve, can_leave=roster.can_leave)
        federation.hub, federation.endpoint = self._hub, self._hub.endpoint(SERVER)
        context = Context(
            party=SERVER,
            job_id=self._job_id,
            config=self._job.server.config,
            folder=self._folder.server.absolute(),
            endpoint=self._hub.endpoint(SERVER),
            send_warning=lambda text: federation.report(Warned(None, text)),
            send_number=lambda key, value: federation.report(Logged(None, key, value, "METRIC", None, None)),
            end_run=federation.end_with,
        )
        self._services = Services(self._service_parts, context)

    def _with_its_site(self, error: Exception) -> Exception:
        """Add the site to an error raised while its reply was used, unless the error names it already."""
        site, text = self.federation.reading, str(error)
        if site is None or isinstance(error, SiteError) or site in text:
            return error
        named = FlareError(f"{text or type(error).__name__} (while the reply of {site} was used)")
        named.__cause__ = error
        return named

    def stop_services(self, reason: str) -> None:
        """Stop the server's services and end their requests and streams; further calls do nothing."""
        self._services.cancel()
        self._hub.close(reason)
        self._services.stop()

    def emit(self, event: Event) -> None:
        """Announce an event to the observers of the run."""
        self.federation.events.emit(event)

    @property
    def curve(self) -> list[tuple[int, float]]:
        """The key metric by round."""
        key = self.key_metric
        return [(event.round, event.metrics[key]) for event in self._rounds if key in event.metrics]

    def _run_workflows(self) -> None:
        interruptions = 0
        while True:
            completed = self._completed
            try:
                return self._run_from_last_round()
            except (TransportError, DownloadError) as error:
                if not self.federation.is_reading or not self._is_durable:
                    raise
                interruptions = interruptions + 1 if completed == self._completed else 1
                if interruptions > MOST_INTERRUPTIONS:
                    raise
                if isinstance(error, StalledError):
                    self.federation.leave_out(error.owner)
                self.log.cut_metrics(self._store.resume())
                what = f"the result of {self.federation.reading or 'a site'}"
                self.federation.warn(f"{what} was cut short; the round begins again ({error})")

    def _run_from_last_round(self) -> None:
        restored = self._store.resume()
        is_over = bool(restored.get("over"))  # the workflow has stopped in that round, though more were to come
        self._at = int(restored.get("workflow", 0)) + is_over
        workflows = _workflows(self._job)
        for index, workflow in enumerate(workflows):
            self.key_metric = self.key_metric or getattr(workflow, "key_metric", None)
            if index < self._at:
                continue
            self._at, self._workflow = index, workflow
            if restored:
                self.federation.continue_from(restored["federation"], 0 if is_over else int(restored["round"]) + 1)
                if not is_over:
                    workflow.restore(restored["state"])
                restored = {}
            else:
                self.federation.continue_from(self._first_state if index == 0 else None, 0)
            workflow.run(self.federation)
            self._is_over = True
            self.federation.end_round()  # with the model of a workflow that has left the loop early
            self._is_over = False
        self._store.conclude({"workflow": len(workflows), "over": False, **self._progress(self._completed)})

    def _state(self) -> dict[str, Any]:
        """Return what a durable run keeps of a completed round besides its models."""
        state = {} if self._workflow is None else dict(self._workflow.state())
        return {"workflow": self._at, "over": self._is_over, "state": state, **self._progress(self._completed + 1)}

    def _progress(self, completed: int) -> dict[str, Any]:
        return {
            "federation": self.federation.state,
            **self.log.flush(),
            "completed": completed,
            "best": self._best,
            "warnings": self.federation.warnings.state(),
            "seconds": time.monotonic() - self._started,
        }

    def _take_over(self, restored: dict[str, Any]) -> None:
        """Restore the record up to the last completed round, and drop what was recorded after it."""
        self.log.cut(restored)
        self._completed = int(restored.get("completed", 0))
        of_all = (row for row in read_metrics(self._folder.metrics) if row["site"] is None and row["round"] is not None)
        for round_, rows in groupby(of_all, key=itemgetter("round")):
            self._rounds.append(RoundEnded(round_, 0, 0.0, {row["key"]: number_of(row["value"]) for row in rows}))
        if self._rounds:
            self._last[0] = self._rounds[-1].metrics
        self._best = restored.get("best")
        self._kept_warnings = restored.get("warnings", [])
        self._started -= float(restored.get("seconds", 0.0))

    def _round_ended(self, event: RoundEnded) -> None:
        self._rounds.append(event)
        self._last[self._at] = event.metrics
        self._completed += 1
        self._traffic.append((self._cell.bytes_sent, self._cell.bytes_received))

    def _model_saved(self, event: ModelSaved) -> None:
        if event.name == "best":
            self._best = {"round": event.round, "value": event.metric}

    def _summary(self, status: RunStatus, error: BaseException | None, crew: Crew) -> dict[str, Any]:
        last = {key: value for metrics in self._last.values() for key, value in metrics.items()}
        wanted = self.key_metric
        if wanted not in last and last and self._best is None:  # nothing was chosen by it; another one can be shown
            self.key_metric = next(iter(last))
        seconds = time.monotonic() - self._started
        return {
            "outcome": status.value,
            "job": self._job.name,
            "job_id": self._job_id,
            "started": datetime.fromtimestamp(time.time() - seconds, UTC).isoformat(timespec="milliseconds"),
            "rounds": self._completed,
            "seconds": round(seconds, 3),
            "key_metric": self.key_metric,
            "chosen_by": wanted,
            "best": self._best,
            "metrics": last,
            "sites": {site: self._fate(site) for site in self._roster.sites},
            "bytes": {
                "sent": self._cell.bytes_sent,
                "received": self._cell.bytes_received,
                "rounds": _differences(self._traffic),
            },
            "memory": {"server": {"peak_rss_bytes": own_peak_bytes()}, **crew.usage()},
            "error": reason_of(error),
            "failure": self._failure(status, error),
            "warnings": self.federation.warnings.lines(self._roster.sites),
            "recipe": parameters_of(self._job),
            **self._folder.places(),
        }

    def _failure(self, status: RunStatus, error: BaseException | None) -> dict[str, Any] | None:
        if status is not RunStatus.FAILED or error is None:
            return None
        federation = self.federation
        return failure_of(error, sites=federation.sites, round_=federation.round, reading=federation.reading)

    def _fate(self, site: str) -> dict[str, str]:
        if site in self._roster.failures:
            return {"status": "failed", "error": str(self._roster.failures[site])}
        if site in self._roster.absent:
            return {"status": "absent", "error": self._roster.absent[site].reason}
        return {"status": "ok"}


def _differences(totals: list[tuple[int, int]]) -> list[dict[str, int]]:
    """Return the bytes sent and received in each round, given the totals after each round."""
    before = [(0, 0), *totals]
    return [
        {"sent": after[0] - start[0], "received": after[1] - start[1]}
        for start, after in zip(before, totals, strict=False)
    ]


def persistor_of(job: Job) -> Persistor | None:
    """Build the component that reads a job's initial model and writes its framework's format; None if it has none.

    Raises:
        JobError: it cannot be built, or is not a persistor.
    """
    component = job.server.components.get("persistor")
    if component is None:
        return None
    persistor = component.build()
    if not isinstance(persistor, Persistor):
        raise JobError(f"the component 'persistor' is a {type(persistor).__name__}, which is not a Persistor")
    return persistor


def _workflows(job: Job) -> list[Workflow]:
    workflows = [component.build() for component in job.server.workflows]
    for workflow in workflows:
        if not isinstance(workflow, Workflow):
            raise JobError(f"{type(workflow).__name__} is not a Workflow; derive it from flare_core.Workflow")
    if not workflows:
        raise JobError(f"the job {job.name} has no workflow, so there is nothing to run")
    return workflows

"""The server's part of a run, from the first round to the summary; the same in every environment."""

from __future__ import annotations

import logging
import traceback
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
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
from flare_core.events import Event, RunEnded, RunStarted
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
from flare_runtime.run.event_log import EVENTS, EventLog, read_events
from flare_runtime.run.failure import reason_of
from flare_runtime.run.federation import SitesFederation
from flare_runtime.run.folder import RunFolder
from flare_runtime.run.persistor import SafetensorsPersistor
from flare_runtime.run.progress import Progress
from flare_runtime.run.record import write_summary
from flare_runtime.run.roster import Roster
from flare_runtime.run.warnings import RunWarnings
from flare_tensor_downloader import Downloader, DownloadError
from flare_tensor_downloader.errors import StalledError
from flare_transport import Cell, TransportError

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


@dataclass(eq=False)
class RunController:
    """Runs the workflows of one job; for one use.

    The constructor builds the job's components, so errors in the job are found before any process starts.

    Attributes:
        job: the job to run; its code must be importable.
        job_id: the run's id.
        folder: the run's folder.
        roster: the sites.
        cell: the server's cell.
        local: the folder of settings that the server's owner keeps.
        is_durable: keep each completed round on disk, and continue after the last one that is there.
        hub: the server's hub for endpoints, if it had to exist before.
    Raises:
        JobError: a component of the job cannot be built.
    """

    job: Job
    job_id: str
    folder: RunFolder
    roster: Roster
    cell: Cell
    _: KW_ONLY
    local: Path
    is_durable: bool = False
    hub: ServerHub | None = None
    persistor: SafetensorsPersistor = field(init=False)
    progress: Progress = field(init=False)
    federation: SitesFederation = field(init=False)

    def __post_init__(self) -> None:
        register_types(self.job)
        self.persistor = persistor_of(self.job)
        _workflows(self.job)
        self._filters = chains(self.job.server.task_data_filters), chains(self.job.server.task_result_filters)
        parts = components_of(self.job.server.components)
        self._observers = [each for each in parts if isinstance(each, Observer)]
        self._service_parts = [each for each in parts if isinstance(each, Service)]
        self._hub = self.hub or ServerHub(self.cell)
        self._at = 0  # which workflow runs
        self._workflow: Workflow | None = None
        self._is_over = False  # whether that has returned
        self._began: dict[str, Any] = {}  # what was kept when it began
        self._reason = ""  # why a workflow begins again, in a run that was continued

    def prepare(self) -> None:
        """Make the federation. Afterwards the process has threads, so it must not be forked any more."""
        self._store = CheckpointStore(
            self.folder, self.persistor, self.job.code, is_durable=self.is_durable, state=self._state
        )
        self.log = EventLog(self.folder)
        kept = self._continued(self._store.resume())
        self.log.cut(kept)  # what was recorded after the last completed round
        events = read_events(self.folder.path / EVENTS)
        self.progress = Progress(events, float(kept.get("seconds", 0.0)), self.cell)
        meta = self.job.meta
        waits: dict[str, Any] = {
            key: meta[key] for key in ("reconnect_grace_s", "round_deadline_s") if meta.get(key) is not None
        }
        self.federation = SitesFederation(
            job_id=self.job_id,
            seed=self.job.seed,
            roster=self.roster,
            cell=self.cell,
            hub=self._hub,
            dispatch=Dispatch(self.cell, Downloader(self.cell), self.roster, *self._filters, self.job_id),
            checkpoints=self._store,
            config=self.job.server.config,
            to_framework=self.persistor.to_framework,
            **waits,
        )
        self._first_state = self.federation.state
        self._prepare_services()
        self.federation.warnings = RunWarnings(kept.get("warnings", []))
        for note in (self.log.write, self.progress.note):
            self.federation.events.subscribe(Event, note)
        run = ObservedRun(
            self.job.name,
            self.job_id,
            None,
            self.folder.server.absolute(),
            self.federation.events,
            self.federation.warn,
            parameters_of(self.job),
            self.folder.workspace,
        )
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
            federation.events.emit(RunStarted(self.job.name, federation.sites))
            if self._reason:
                federation.warn(self._reason)
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
        if self.roster.failures and status is not RunStatus.ABORTED:
            status, error = RunStatus.FAILED, next(iter(self.roster.failures.values()))
        for close in (self._store.close, self.log.flush):
            try:
                close()
            except Exception as problem:  # a full disk, or a component that writes its framework's format
                logger.exception("results of the run cannot be written")
                status, error = RunStatus.FAILED if status is RunStatus.FINISHED else status, error or problem
        try:
            write_summary(self.folder.summary, self._summary(status, error, crew))
            federation.events.emit(RunEnded(status, reason_of(error) or ""))
            self.log.close()
        except Exception as problem:  # a full disk, or an observer
            logger.exception("end of the run cannot be recorded or announced")
            status, error = RunStatus.FAILED if status is RunStatus.FINISHED else status, error or problem
            with suppress(OSError):
                self.log.write(RunEnded(status, reason_of(error) or ""))
                self.log.close()
            with suppress(OSError):  # if this fails too, the launcher of the run reports the status
                write_summary(self.folder.summary, self._summary(status, error, crew))
        return status, error, self._summary(status, error, crew)

    def _prepare_services(self) -> None:
        federation, roster = self.federation, self.roster
        self._hub.begin(roster.sites, roster.may_serve, can_leave=roster.can_leave)
        context = Context(
            party=SERVER,
            job_id=self.job_id,
            config=self.job.server.config,
            folder=self.folder.server.absolute(),
            local=self.local.absolute(),
            endpoint=federation.endpoint,
            send_warning=federation.report_warning,
            send_number=federation.report_value,
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

    def _run_workflows(self) -> None:
        interruptions = 0
        while True:
            completed = len(self.progress.rounds)
            try:
                return self._run_from_last_round()
            except (TransportError, DownloadError) as error:
                if not self.federation.is_reading or not self.is_durable:
                    raise
                interruptions = interruptions + 1 if completed == len(self.progress.rounds) else 1
                if interruptions > MOST_INTERRUPTIONS:
                    raise
                kept = self._store.resume()
                if reason := self._reason_to_begin_again(kept):
                    raise JobError(f"{error}, and the round cannot be repeated: {reason}") from error
                if isinstance(error, StalledError):
                    self.federation.leave_out(error.owner)
                self.log.cut_metrics(kept)
                what = f"the result of {self.federation.reading or 'a site'}"
                self.federation.warn(f"{what} was cut short; the round begins again ({error})")

    def _run_from_last_round(self) -> None:
        restored = self._store.resume()
        is_over = bool(restored.get("over"))  # the workflow has stopped in that round, though more were to come
        self._at = int(restored.get("workflow", 0)) + is_over
        workflows = _workflows(self.job)
        for index, workflow in enumerate(workflows):
            self.progress.key_metric = self.progress.key_metric or getattr(workflow, "key_metric", None)
            if index < self._at:
                continue
            self._at, self._workflow = index, workflow
            if restored:
                self.federation.continue_from(restored["federation"], 0 if is_over else int(restored["round"]) + 1)
                if not is_over:
                    workflow.restore(restored["state"])
                self._began = self._beginning(index) if is_over else restored.get("began", {})
                restored = {}
            else:
                self.federation.continue_from(self._first_state if index == 0 else None, 0)
                self._began = self._beginning(index)
            workflow.run(self.federation)
            self._is_over = True
            self.federation.end_round()  # with the model of a workflow that has left the loop early
            self._is_over = False
        self._store.conclude({"workflow": len(workflows), "over": False, **self._kept()})

    def _state(self) -> dict[str, Any]:
        """Return what a durable run keeps of a completed round, or of a part of one, besides its models."""
        state = {} if self._workflow is None else dict(self._workflow.state())
        return {"workflow": self._at, "over": self._is_over, "state": state, "began": self._began, **self._kept()}

    def _beginning(self, index: int) -> dict[str, Any]:
        """Return the state in which a workflow begins: nothing, or the end of the one before."""
        over = {"workflow": index - 1, "over": True, "round": 0, "state": {}}
        return {**over, **self._kept()} if index else {}

    def _continued(self, kept: dict[str, Any]) -> dict[str, Any]:
        """Return what was kept of the run, without the rounds of a workflow that cannot be continued."""
        self._reason = self._reason_to_begin_again(kept)
        return self._store.go_back(kept.get("began", {})) if self._reason else kept

    def _reason_to_begin_again(self, kept: dict[str, Any]) -> str:
        workflows, at = _workflows(self.job), int(kept.get("workflow", 0))
        if not kept or kept.get("over") or at >= len(workflows):
            return ""
        return workflows[at].begins_again(kept["state"])

    def _kept(self) -> dict[str, Any]:
        return {
            "federation": self.federation.state,
            "in_round": self.federation.is_in_round,
            **self.log.flush(),
            "warnings": self.federation.warnings.state(),
            "seconds": self.progress.seconds,
        }

    def _summary(self, status: RunStatus, error: BaseException | None, crew: Crew) -> dict[str, Any]:
        return self.progress.summary(self.job, self.folder, self.federation, status, error, crew.usage())


def persistor_of(job: Job) -> SafetensorsPersistor:
    """Build the component that reads a job's initial model and writes its framework's format.

    Raises:
        JobError: it cannot be built, or is not a persistor.
    """
    component = job.server.components.get("persistor")
    if component is None:
        return SafetensorsPersistor()
    persistor = component.build()
    if not isinstance(persistor, SafetensorsPersistor):
        kind = type(persistor).__name__
        raise JobError(f"the component 'persistor' is a {kind}, which does not derive from SafetensorsPersistor")
    return persistor


def _workflows(job: Job) -> list[Workflow]:
    workflows = [component.build() for component in job.server.workflows]
    for workflow in workflows:
        if not isinstance(workflow, Workflow):
            raise JobError(f"{type(workflow).__name__} is not a Workflow; derive it from flare_core.Workflow")
    if not workflows:
        raise JobError(f"the job {job.name} has no workflow, so there is nothing to run")
    return workflows

"""Simulation: one simulated run, from the start of the workers to the summary."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flare_core import Job, RunStatus
from flare_runtime.display import Display, open_display, summary_text
from flare_runtime.interrupts import interruptible
from flare_runtime.job_code import importable
from flare_runtime.processes.exit_codes import COMPLETED
from flare_runtime.run.controller import RunController
from flare_runtime.run.failure import reason_of
from flare_runtime.run.folder import RunFolder
from flare_runtime.run.results import RunResults
from flare_runtime.run.roster import Roster
from flare_runtime.simulator.pool import WorkerPool
from flare_runtime.simulator.preload import preload
from flare_runtime.site.plan import SERVER, WorkerPlan
from flare_transport import Cell

logger = logging.getLogger(__name__)

NOTICE_S = 10.0  # after which the display says that the run, whose rounds are done, waits for scripts to end


@dataclass(eq=False, repr=False)
class SimRun(RunResults):
    """A run that has ended, made by :class:`SimEnv`."""

    _job_id: str

    def __repr__(self) -> str:
        return self.describe("SimRun", self._job_id)

    def get_job_id(self) -> str:
        """Return the run's id: the job's name and the time of its start."""
        return self._job_id

    def get_status(self) -> RunStatus:
        """Return the status: finished, failed or aborted."""
        return self._status

    def abort(self) -> None:
        """Do nothing: the run has ended."""


class Simulation:
    """Runs a job with workers on this machine, as the run's crew; for one use.

    Args:
        job: the job.
        folder: the run's folder.
        plans: the workers.
        local: the folder of the server's settings.
    """

    def __init__(self, job: Job, folder: RunFolder, plans: Sequence[WorkerPlan], *, local: Path) -> None:
        self._job = job
        self._folder = folder
        self._plans = plans
        self._local = local
        self._stopping = False
        self._cell = Cell(SERVER, forwards=lambda sender, to: True)  # sites of different workers reach each other
        self._display: Display

    def run(self) -> SimRun:
        """Run to the end, whatever it is, and return the results.

        Raises:
            JobError: a component of the job cannot be built; no process was started.
            KeyboardInterrupt: the user pressed Ctrl-C; all processes have ended.
        """
        job_id = self._plans[0].job_id
        with importable(self._job.code):
            roster = Roster(self._hosts(), can_leave=False)
            self._controller = RunController(self._job, job_id, self._folder, roster, self._cell, local=self._local)
            preload(self._job)
            self._pool = WorkerPool(self._plans, self._cell, self._worker_ended)  # forks, so no thread may exist before
            with interruptible():
                try:
                    status, error = self._drive()
                finally:
                    self.stop()
        if isinstance(error, KeyboardInterrupt):
            raise error.with_traceback(None)  # the interrupted place in the runtime is of no interest
        return SimRun(self._folder, self._controller.persistor, status, reason_of(error), job_id)

    def _drive(self) -> tuple[RunStatus, BaseException | None]:
        self._controller.prepare()
        federation = self._controller.federation
        self._display = open_display(self._job.name, len(federation.sites))
        self._display.attach(federation.events)
        status, error, summary = self._controller.run(self)
        self._display.close()
        if len(federation.sites) > len(self._plans):
            self._display.note(_sharing_text(len(federation.sites), len(self._plans)))
        self._display.note(summary_text(summary, self._controller.progress.curve))
        return status, error

    def start(self) -> None:
        """Connect the workers and wait until their sites are ready."""
        self._pool.connect()
        self._controller.federation.wait_ready(len(self._plans))

    def wait(self) -> None:
        """Wait until every script has ended; scripts may do more work after the last round."""
        what = "all rounds are done; waiting for the sites' scripts to end"
        notice = threading.Timer(NOTICE_S, self._display.note, [what])
        notice.start()
        try:
            self._controller.federation.wait_ended()
        finally:
            notice.cancel()
            notice.join()

    def stop(self) -> None:
        """End the workers."""
        self._stopping = True
        self._pool.stop()

    def usage(self) -> dict[str, dict[str, float]]:
        """Return peak memory and CPU seconds by worker."""
        return self._pool.usage()

    def _hosts(self) -> dict[str, str]:
        """Return the worker of each site, in the order of the sites' numbers."""
        longest = max(len(plan.sites) for plan in self._plans)
        return {
            plan.sites[index]: plan.name for index in range(longest) for plan in self._plans if index < len(plan.sites)
        }

    def _worker_ended(self, plan: WorkerPlan, code: int) -> None:
        """Report the end of a worker to the federation; called on a thread of the pool."""
        if self._stopping:
            return
        federation = self._controller.federation
        turn = int.from_bytes(plan.turn_file.read_bytes()[:4], "little")
        running = plan.sites[turn] if turn < len(plan.sites) else plan.sites[0]  # the site whose script was running
        if code in (0, COMPLETED):
            return federation.site_ended(plan.name, running if code == 0 else None)
        reason = (
            f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended the process with exit code {code}"
        )
        if code == -signal.SIGKILL:
            reason += (
                ", as happens when memory is full; a lower num_threads, or share_processes=True, needs less memory"
            )
        crash = plan.crash_file.read_text(errors="replace").strip() if plan.crash_file.is_file() else ""
        federation.fail(running, f"{running}: its script {reason}", crash)
        for site in plan.sites:
            if site != running:
                federation.fail(site, f"{site}: lost with the process that it shared with {running}")


def _sharing_text(sites: int, processes: int) -> str:
    where = "one process" if processes == 1 else f"{processes} processes"
    return (
        f"{sites} sites shared {where}: changes that a script makes inside an installed package can affect other sites;"
        " see share_processes of SimEnv"
    )

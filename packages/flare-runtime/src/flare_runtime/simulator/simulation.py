"""One simulated run, from the start of the workers to the summary."""

from __future__ import annotations

import logging
import resource
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from flare_core import Job, JobAborted, JobError, RunStatus, Workflow
from flare_core.events import ModelSaved, RoundEnded, RunEnded, RunStarted
from flare_core.filters import FilterChain, chains
from flare_runtime.checkpoints import Checkpoints, Persistor
from flare_runtime.display import Display, open_display, summary_text
from flare_runtime.federation import SitesFederation
from flare_runtime.record import MetricsFile, write_summary
from flare_runtime.run_folder import RunFolder
from flare_runtime.simulator.plan import WorkerPlan
from flare_runtime.simulator.pool import WorkerDeath, WorkerPool
from flare_runtime.simulator.preload import preload
from flare_runtime.simulator.run import SimRun
from flare_runtime.simulator.worker import SERVER
from flare_tensor_downloader import Downloader
from flare_transport import Cell

__all__ = ["Simulation"]

logger = logging.getLogger(__name__)


class Simulation:
    """Runs a job with workers of this machine; for one use."""

    def __init__(self, job: Job, folder: RunFolder, plans: Sequence[WorkerPlan]) -> None:
        self._job = job
        self._folder = folder
        self._plans = plans
        self._started = time.monotonic()
        self._rounds: list[RoundEnded] = []
        self._traffic: list[tuple[int, int]] = []  # sent and received by the server, after each round
        self._best: ModelSaved | None = None
        self._stopping = False
        self._cell = Cell(SERVER)

    def run(self) -> SimRun:
        """Run to the end, whatever it is, and return what is left.

        Raises:
            JobError: a component of the job cannot be made; nothing was started.
            KeyboardInterrupt: the user asked for the end; all is cleaned up.
        """
        with _importable(self._job):
            persistor = _persistor(self._job)
            workflows = _workflows(self._job)
            filters = [
                chains(each) for each in (self._job.server.task_data_filters, self._job.server.task_result_filters)
            ]
            preload(self._job)
            self._pool = WorkerPool(self._plans, self._cell, self._worker_ended)  # from here on, threads are allowed
            try:
                status, error = self._drive(workflows, persistor, filters)
            finally:
                self._stopping = True
                self._pool.stop()
        if isinstance(error, KeyboardInterrupt):
            raise error
        return SimRun(self._folder, self._plans[0].job_id, status, error, persistor)

    def _drive(
        self, workflows: list[Workflow], persistor: Persistor | None, filters: list[list[FilterChain]]
    ) -> tuple[RunStatus, BaseException | None]:
        metrics = MetricsFile(self._folder.metrics)
        checkpoints = Checkpoints(self._folder, persistor, self._job.code)
        downloader = Downloader(self._cell)
        federation = self._federation = SitesFederation(
            job_id=self._plans[0].job_id,
            seed=self._job.seed,
            hosts=self._hosts(),
            cell=self._cell,
            downloader=downloader,
            checkpoints=checkpoints,
            metrics=metrics,
            task_filters=filters[0],
            result_filters=filters[1],
        )
        display = open_display(self._job.name, len(federation.sites))
        display.attach(federation.events)
        federation.events.subscribe(RoundEnded, self._round_ended)
        federation.events.subscribe(ModelSaved, self._model_saved)
        status: RunStatus = RunStatus.FINISHED
        error: BaseException | None = None
        try:
            self._pool.connect()
            federation.wait_ready(len(self._plans))
            federation.events.emit(RunStarted(self._job.name, federation.sites))
            for workflow in workflows:
                workflow.run(federation)
            federation.finish()
            self._await_scripts(display)
            federation.drain()
        except (KeyboardInterrupt, JobAborted) as problem:
            status, error = RunStatus.ABORTED, problem
        except Exception as problem:
            status, error = RunStatus.FAILED, problem
            logger.error("run failed\n%s", traceback.format_exc())
        self._stopping = True
        self._pool.stop()
        federation.drain()
        if federation.failures and status is not RunStatus.ABORTED:
            status, error = RunStatus.FAILED, next(iter(federation.failures.values()))
        try:
            checkpoints.close()
        except OSError as problem:
            status, error = RunStatus.FAILED, error or problem
        metrics.close()
        federation.events.emit(RunEnded(status, str(error or "")))
        display.close()
        summary = self._summary(status, error, workflows, federation)
        write_summary(self._folder.summary, summary)
        display.note(summary_text(summary, self._curve(summary["key_metric"])))
        return status, error

    def _hosts(self) -> dict[str, str]:
        """Site to worker, in the order in which the sites are numbered."""
        longest = max(len(plan.sites) for plan in self._plans)
        return {
            plan.sites[index]: plan.name for index in range(longest) for plan in self._plans if index < len(plan.sites)
        }

    def _await_scripts(self, display: Display) -> None:
        """Wait until every script has ended: what it does after the last round is its own."""
        if not self._pool.wait(timeout_s=10):
            display.note("all rounds are done; waiting for the sites' scripts to end")
            self._pool.wait()

    def _worker_ended(self, death: WorkerDeath) -> None:
        """Learn, on a thread of the pool's, how a worker ended."""
        if death.status == 0 or self._stopping:
            return
        self._federation.fail(death.site, f"{death.site}: its script {death.reason}", death.details)
        for site in death.plan.sites:
            if site != death.site:
                self._federation.fail(site, f"{site}: lost with the process that it shared with {death.site}")

    def _round_ended(self, event: RoundEnded) -> None:
        self._rounds.append(event)
        self._traffic.append((self._cell.bytes_sent, self._cell.bytes_received))

    def _model_saved(self, event: ModelSaved) -> None:
        if event.name == "best":
            self._best = event

    def _curve(self, key: str | None) -> list[tuple[int, float]]:
        return [(event.round, event.metrics[key]) for event in self._rounds if key in event.metrics]

    def _summary(
        self,
        status: RunStatus,
        error: BaseException | None,
        workflows: list[Workflow],
        federation: SitesFederation,
    ) -> dict[str, Any]:
        last = self._rounds[-1].metrics if self._rounds else {}
        wanted = next((key for each in workflows if (key := getattr(each, "key_metric", None))), None)
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "outcome": status.value,
            "job": self._job.name,
            "job_id": self._plans[0].job_id,
            "rounds": len(self._rounds),
            "seconds": round(time.monotonic() - self._started, 3),
            "key_metric": wanted if wanted in last or not last else next(iter(last)),
            "best": None if self._best is None else {"round": self._best.round, "value": self._best.metric},
            "metrics": last,
            "sites": {
                site: {"status": "failed", "error": str(federation.failures[site])}
                if site in federation.failures
                else {"status": "ok"}
                for site in federation.sites
            },
            "bytes": {
                "sent": self._cell.bytes_sent,
                "received": self._cell.bytes_received,
                "rounds": _differences(self._traffic),
            },
            "memory": {"server": {"peak_rss_bytes": usage.ru_maxrss * 1024}, **self._pool.usage()},
            "error": None if error is None else str(error) or type(error).__name__,
            "global_model": self._checkpoint("global"),
            "best_model": self._checkpoint("best"),
            "folder": str(self._folder.path),
        }

    def _checkpoint(self, name: str) -> str | None:
        path = self._folder.checkpoint(name)
        return str(path) if path.is_file() else None


def _differences(totals: list[tuple[int, int]]) -> list[dict[str, int]]:
    """What the server sent and received in each round, from the totals after each."""
    before = [(0, 0), *totals]
    return [
        {"sent": after[0] - start[0], "received": after[1] - start[1]}
        for start, after in zip(before, totals, strict=False)
    ]


@contextmanager
def _importable(job: Job) -> Iterator[None]:
    """Let the job's class paths find modules in its code."""
    root = str(job.code.root)
    added = root not in sys.path
    if added:
        sys.path.insert(0, root)
    try:
        yield
    finally:
        if added and root in sys.path:
            sys.path.remove(root)


def _persistor(job: Job) -> Persistor | None:
    component = job.server.components.get("persistor")
    if component is None:
        return None
    persistor = component.build()
    if not isinstance(persistor, Persistor):
        raise JobError(f"the component 'persistor' is a {type(persistor).__name__}, which keeps no checkpoints")
    return persistor


def _workflows(job: Job) -> list[Workflow]:
    workflows = [component.build() for component in job.server.workflows]
    for workflow in workflows:
        if not isinstance(workflow, Workflow):
            raise JobError(f"{type(workflow).__name__} is no Workflow; derive it from flare_core.Workflow")
    if not workflows:
        raise JobError(f"the job {job.name} has no workflow, so there is nothing to run")
    return workflows

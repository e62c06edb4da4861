"""SimEnv: run a job on this machine, with as many sites as wanted."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from flare_core import Job, JobError, RecipeError, RunStatus
from flare_core.job import check_name
from flare_core.parameters import parameters_of
from flare_core.recipe import check_count, check_named
from flare_runtime.logs import LogConfig, check_log_config, log_to
from flare_runtime.processes.cores import available_cores, share_cores
from flare_runtime.run.failure import reason_of
from flare_runtime.run.folder import RunFolder, default_workspace
from flare_runtime.run.record import write_summary
from flare_runtime.simulator.gpus import VARIABLE, gpu_groups
from flare_runtime.simulator.run import SimRun
from flare_runtime.simulator.sharing import available_bytes, sites_share
from flare_runtime.simulator.simulation import Simulation
from flare_runtime.site.plan import WorkerPlan
from flare_runtime.system import IS_UNIX, NEEDS_UNIX

__all__ = ["SimEnv", "check_clients", "check_fits"]


class SimEnv:
    """Simulates a federation on this machine.

    Each site has a process of its own, a working folder and a temporary folder, so what its script changes there, such
    as settings of libraries, does not reach other sites. At most ``num_threads`` scripts run at a time; a script that
    waits in the Client API lets another one run. The model does not depend on ``num_threads``.

    With more than 64 sites, or with more than half of the available memory holds (64 MiB and the job's files for each;
    512 MiB where a process has to load its libraries itself), the sites share ``num_threads`` processes, and the end
    of the run says so. Then scripts also share whatever lies inside installed packages; docs/architecture.md says what
    is kept apart.

    Args:
        num_clients: how many sites, named ``site-1``, ``site-2``, …
        clients: or their names.
        num_threads: how many scripts run at a time; one for each core if left out. With at least as many as cores,
            and scripts in this Python, each keeps to a core; give fewer to scripts that use several. Scripts with
            ``launch_external_process`` all run at the same time.
        share_processes: True has the sites share ``num_threads`` processes, which need less memory; False gives each
            its own, however many; left out, it depends on their number and the memory, as above.
        gpu_config: cards by group of sites, such as ``"0,1"`` or ``"[0,1],[2]"``; sites take the groups in turn. A
            process that uses a card keeps some of its memory, so many sites may have to share processes.
        workspace_root: where run folders are made; ``$FLARE_WORKSPACE``, else ``flare-runs`` in the working folder.
        log_config: a level for the run's log file (``"debug"``), or a dict for :func:`logging.config.dictConfig`, or
            the path of a JSON file that holds one.

    Raises:
        RecipeError: neither or contradictory numbers and names of sites, a bad name, a GPU that is not there.
    """

    def __new__(cls, *arguments: Any, **named: Any) -> Self:  # Python's own error names no argument that may be meant
        check_named(cls.__name__, list(inspect.signature(cls.__init__).parameters)[1:], arguments, named)
        return super().__new__(cls)

    def __init__(
        self,
        *,
        num_clients: int = 0,
        clients: Sequence[str] | None = None,
        num_threads: int | None = None,
        share_processes: bool | None = None,
        gpu_config: str | None = None,
        workspace_root: str | Path | None = None,
        log_config: LogConfig = None,
    ) -> None:
        self.clients = check_clients(check_count(num_clients, "num_clients", minimum=0), clients)
        self.gpu_groups = gpu_groups(gpu_config)
        wanted = (
            max(available_cores(), len(self.gpu_groups))
            if num_threads is None
            else check_count(num_threads, "num_threads")
        )
        if wanted < len(self.gpu_groups):
            raise RecipeError(
                f"num_threads is {wanted}, but gpu_config has {len(self.gpu_groups)} groups, which are to compute at"
                " the same time"
            )
        self.num_threads = min(wanted, len(self.clients))
        if share_processes not in (None, True, False):
            raise RecipeError(f"share_processes is {share_processes!r}; give True, False or None")
        self.share_processes = share_processes
        self.workspace_root = None if workspace_root is None else Path(workspace_root).expanduser().absolute()
        self.log_config = check_log_config(log_config)

    def deploy(self, job: Job) -> SimRun:
        """Run ``job`` to its end.

        Raises:
            RecipeError: the job does not fit this environment.
        """
        check_fits(job, self.clients)
        folder = RunFolder.create(self.workspace_root or default_workspace(), job.name)
        with log_to(folder.log, self.log_config):
            try:
                return Simulation(job, folder, self._plans(job, folder)).run()
            except BaseException as error:
                _record_end(job, folder, error)
                raise

    def _plans(self, job: Job, folder: RunFolder) -> list[WorkerPlan]:
        groups = self.gpu_groups or [""]
        share = self.share_processes
        if share is None:
            share = sites_share(job, self.clients, available_bytes())
        processes = self.num_threads if share else len(self.clients)
        dealt: list[list[str]] = [[] for _ in range(processes)]
        for index, site in enumerate(self.clients):
            dealt[index % processes].append(site)
        free = self.gpu_groups or any(_starts_processes(job, site) for site in self.clients)
        cores = [None] * self.num_threads if free else list(share_cores(self.num_threads))
        return [
            WorkerPlan(
                index=index + 1,
                job=job,
                job_id=f"{job.name}/{folder.run_id}",
                sites=tuple(sites),
                run_folder=folder.path,
                log_config=self.log_config,
                environment={VARIABLE: groups[index % len(groups)]} if self.gpu_groups else {},
                core=cores[index % self.num_threads],
                lane=index % self.num_threads if processes > self.num_threads else None,
            )
            for index, sites in enumerate(dealt)
        ]


def _record_end(job: Job, folder: RunFolder, error: BaseException) -> None:
    """Let the folder of a run that could not even begin say why."""
    if folder.summary.is_file():
        return
    aborted = isinstance(error, KeyboardInterrupt)
    record = {
        "outcome": (RunStatus.ABORTED if aborted else RunStatus.FAILED).value,
        "job": job.name,
        "job_id": f"{job.name}/{folder.run_id}",
        "error": reason_of(error),
        "recipe": parameters_of(job),
        **folder.places(),
    }
    with suppress(OSError):  # such as a full disk, which may be why it could not begin
        write_summary(folder.summary, record)


def check_fits(job: Job, clients: Sequence[str]) -> None:
    """Refuse a job that needs more sites of this machine than there are, or others, or scripts that are not here.

    Raises:
        RecipeError: says which; or that no job runs on this system.
    """
    if not IS_UNIX:
        raise RecipeError(f"to run a job here {NEEDS_UNIX}")
    if job.min_clients > len(clients):
        raise RecipeError(
            f"the job needs min_clients={job.min_clients}, but the environment has {len(clients)} sites;"
            " give it more, or the job fewer"
        )
    if job.preinstalled:
        raise RecipeError(
            f"train_script {job.preinstalled[0]!r} is no file of this machine; SimEnv and PocEnv need one, which"
            " travels with the job. Scripts that are installed at the sites are for ProdEnv"
        )
    for site in _named_sites(job):
        if site not in clients:
            raise RecipeError(
                f"the job names the site {site!r}, which is not there; the sites are {', '.join(clients[:10])}"
            )


def check_clients(count: int, names: Sequence[str] | None) -> tuple[str, ...]:
    """Return the sites' names, given how many there are, or which.

    Raises:
        RecipeError: neither or contradictory numbers and names, or a bad name.
    """
    if names is not None and isinstance(names, str):
        raise RecipeError(f"clients is the text {names!r}; give a list of names")
    if names is not None and not isinstance(names, Sequence | Set):
        raise RecipeError(f"clients is {names!r}; give a list of names, or num_clients=… for a number of sites")
    if isinstance(names, Set):
        names = sorted(names)
    if not names:
        if count < 1:
            raise RecipeError("give num_clients (from 1), or clients with the sites' names")
        return tuple(f"site-{number}" for number in range(1, count + 1))
    if count and count != len(names):
        raise RecipeError(f"num_clients is {count}, but clients has {len(names)} names; leave num_clients out")
    for name in names:
        try:
            check_name(name, what="a site's name")
        except JobError as error:
            raise RecipeError(str(error)) from None
        if name in ("server", "@ALL"):
            raise RecipeError(f"a site cannot be called {name!r}; the name is reserved")
    if len(set(names)) != len(names):
        raise RecipeError(f"clients names a site twice: {', '.join(names)}")
    return tuple(names)


def _starts_processes(job: Job, site: str) -> bool:
    return any(entry.executor.args.get("launch_external_process") for entry in job.client_app(site).executors)


def _named_sites(job: Job) -> set[str]:
    named = set(job.sites)
    for workflow in job.server.workflows:
        weights = workflow.args.get("aggregation_weights")
        named.update(weights if isinstance(weights, Mapping) else ())
    return named

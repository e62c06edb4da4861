"""SimEnv: runs a job on this machine, with any number of sites."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from flare_core import Job, JobError, RecipeError, RunStatus
from flare_core.job import check_name
from flare_core.job_folder import check_meta
from flare_core.parameters import parameters_of
from flare_core.recipe import check_count, check_named
from flare_runtime.logs import LogConfig, check_log_config, log_to
from flare_runtime.processes.cores import available_cores, share_cores
from flare_runtime.run.failure import reason_of
from flare_runtime.run.folder import RunFolder, default_workspace, local_folder
from flare_runtime.run.record import write_summary
from flare_runtime.simulator.gpus import VARIABLE, gpu_groups
from flare_runtime.simulator.sharing import available_bytes, sites_share
from flare_runtime.simulator.simulation import SimRun, Simulation
from flare_runtime.site.plan import SERVER, WorkerPlan
from flare_runtime.system import IS_UNIX, NEEDS_UNIX


class SimEnv:
    """Simulates a federation on this machine.

    Each site has a process, a working folder and a temporary folder of its own, so changes by its script, such as
    settings of libraries, do not reach other sites. At most ``num_threads`` scripts run at a time; a script that waits
    in the Client API lets another one run. The model does not depend on ``num_threads``.

    With more than 64 sites, or if the sites would need more than half of the available memory (64 MiB and the job's
    files for each; 512 MiB where each process must load its libraries itself), the sites share ``num_threads``
    processes, and the display says so at the end of the run. Scripts then also share the state of installed packages;
    docs/architecture.md lists what is kept apart.

    Args:
        num_clients: the number of sites, which are named ``site-1``, ``site-2``, …
        clients: the names of the sites, instead of a number.
        num_threads: how many scripts run at a time; by default one for each core. With at least as many as cores, each
            script in this Python is pinned to a core; give a smaller number to scripts that use several. Scripts with
            ``launch_external_process`` all run at the same time.
        share_processes: True lets the sites share ``num_threads`` processes, which need less memory; False gives each
            site a process; None decides by their number and the memory, as above.
        gpu_config: the GPUs for each group of sites, such as ``"0,1"`` or ``"[0,1],[2]"``; sites are assigned to the
            groups in turn. Each process that uses a GPU occupies some of its memory, so many sites may have to share
            processes.
        workspace_root: where run folders are created; by default ``$FLARE_WORKSPACE``, else ``flare-runs`` in the
            working folder.
        log_config: a level for the run's log file (``"debug"``), a dict for :func:`logging.config.dictConfig`, or the
            path of a JSON file that contains one.

    Raises:
        RecipeError: the number or names of sites are missing or contradictory, a name is invalid, or a GPU does not
            exist.
    """

    def __new__(cls, *arguments: Any, **named: Any) -> Self:  # suggests names, unlike Python
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
                f"num_threads is {wanted}, but the {len(self.gpu_groups)} groups of gpu_config compute at the same"
                " time; give at least as many threads"
            )
        self.num_threads = min(wanted, len(self.clients))
        if share_processes not in (None, True, False):
            raise RecipeError(f"share_processes is {share_processes!r}; give True, False or None")
        self.share_processes = share_processes
        self.workspace_root = None if workspace_root is None else Path(workspace_root).expanduser().absolute()
        self.log_config = check_log_config(log_config)

    def deploy(self, job: Job) -> SimRun:
        """Run a job to its end.

        Raises:
            RecipeError: the job does not fit this environment.
        """
        check_fits(job, self.clients)
        workspace = self.workspace_root or default_workspace()
        folder = RunFolder.create(workspace, job.name)
        with log_to(folder.log, self.log_config):
            try:
                plans = self._plans(job, folder, workspace)
                return Simulation(job, folder, plans, local=local_folder(workspace, SERVER)).run()
            except BaseException as error:
                _record_end(job, folder, error)
                raise

    def _plans(self, job: Job, folder: RunFolder, workspace: Path) -> list[WorkerPlan]:
        groups = self.gpu_groups or [""]
        share = self.share_processes
        if share is None:
            share = sites_share(job, self.clients, available_bytes())
        processes = self.num_threads if share else len(self.clients)
        # Scripts that start processes or feed a GPU use more than one core, so they are not pinned.
        executors = [entry.executor for site in self.clients for entry in job.client_app(site).executors]
        is_unpinned = self.gpu_groups or any(each.args.get("launch_external_process") for each in executors)
        cores = [None] * self.num_threads if is_unpinned else list(share_cores(self.num_threads))
        return [
            WorkerPlan(
                index=index + 1,
                job=job,
                job_id=f"{job.name}/{folder.run_id}",
                sites=self.clients[index::processes],
                run_folder=folder.path,
                log_config=self.log_config,
                local={site: local_folder(workspace, site) for site in self.clients[index::processes]},
                environment={VARIABLE: groups[index % len(groups)]} if self.gpu_groups else {},
                core=cores[index % self.num_threads],
                lane=index % self.num_threads if processes > self.num_threads else None,
            )
            for index in range(processes)
        ]


def _record_end(job: Job, folder: RunFolder, error: BaseException) -> None:
    """Write the summary of a run that could not start, with the reason."""
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
    with suppress(OSError):  # such as a full disk, which may be the reason
        write_summary(folder.summary, record)


def check_fits(job: Job, clients: Sequence[str]) -> None:
    """Refuse a job that needs more or other sites than there are, or scripts that do not exist here.

    Raises:
        RecipeError: the job does not fit, or no job can run on this system.
        JobError: an entry of the job's ``meta`` is wrong.
    """
    check_meta(job)
    if not IS_UNIX:
        raise RecipeError(f"to run a job here {NEEDS_UNIX}")
    if job.min_clients > len(clients):
        raise RecipeError(
            f"the job needs min_clients={job.min_clients}, but the environment has {len(clients)} sites;"
            " add sites, or lower min_clients"
        )
    if job.preinstalled:
        raise RecipeError(
            f"train_script {job.preinstalled[0]!r} does not exist on this machine; SimEnv and PocEnv need a local file,"
            " which is sent with the job. Only ProdEnv runs scripts that are installed at the sites"
        )
    named = set(job.sites)
    for workflow in job.server.workflows:
        weights = workflow.args.get("aggregation_weights")
        named.update(weights if isinstance(weights, Mapping) else ())
    for site in named:
        if site not in clients:
            raise RecipeError(
                f"the job names the site {site!r}, which does not exist; the sites are {', '.join(clients[:10])}"
            )


def check_clients(count: int, names: Sequence[str] | None) -> tuple[str, ...]:
    """Return the sites' names, given their number or their names.

    Raises:
        RecipeError: both are missing or contradict each other, or a name is invalid.
    """
    if names is not None and isinstance(names, str):
        raise RecipeError(f"clients is the string {names!r}; give a list of names")
    if names is not None and not isinstance(names, Sequence | Set):
        raise RecipeError(f"clients is {names!r}; give a list of names, or num_clients=… for a number of sites")
    if isinstance(names, Set):
        names = sorted(names)
    if not names:
        if count < 1:
            raise RecipeError("give num_clients (at least 1), or clients with the sites' names")
        return tuple(f"site-{number}" for number in range(1, count + 1))
    if count and count != len(names):
        raise RecipeError(f"num_clients is {count}, but clients has {len(names)} names; leave num_clients out")
    for name in names:
        try:
            check_name(name, what="a site's name")
        except JobError as error:
            raise RecipeError(str(error)) from None
        if name in ("server", "@ALL"):
            raise RecipeError(f"a site cannot be named {name!r}; the name is reserved")
    if len(set(names)) != len(names):
        raise RecipeError(f"clients names a site twice: {', '.join(names)}")
    return tuple(names)

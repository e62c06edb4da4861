"""PocEnv: a whole federation on this machine, with the processes, kits and encryption of a real one."""

from __future__ import annotations

import inspect
import os
import shutil
import socket
import sys
import tempfile
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

from flare_core import Job
from flare_core.recipe import check_count, check_named
from flare_deploy.daemons import RunningDaemon, environment_for, pid_of, start_daemon, stop_daemon
from flare_deploy.prod import ProdEnv
from flare_deploy.provision.kit import Kit
from flare_deploy.provision.project import Project, participant_of
from flare_deploy.server.scheduler import natural_order
from flare_deploy.server_run import ServerRun
from flare_runtime.display import waiting
from flare_runtime.simulator.environment import check_clients, check_fits
from flare_runtime.simulator.gpus import VARIABLE, gpu_groups

__all__ = ["Poc", "PocEnv", "default_poc"]

POC_VARIABLE = "FLARE_POC_WORKSPACE"
HOST = "127.0.0.1"


def default_poc() -> Path:
    """Where ``flare poc start`` keeps its federation: ``$FLARE_POC_WORKSPACE``, else the user's cache."""
    chosen = os.environ.get(POC_VARIABLE)
    if chosen:
        return Path(chosen).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flare" / "poc"


class Poc:
    """A federation's folder on this machine, and its processes.

    <folder>/project/       the project, with the kits of the server and the administrator
    <folder>/sites/<name>/  the kits of the sites
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.project_folder = folder / "project"
        self._daemons: list[RunningDaemon] = []

    @property
    def admin(self) -> Path:
        """The administrator's kit."""
        return self.project_folder / "admin"

    @property
    def sites(self) -> tuple[str, ...]:
        """The sites' names."""
        folder = self.folder / "sites"
        return natural_order(path.name for path in folder.iterdir()) if folder.is_dir() else ()

    def prepare(self, sites: Sequence[str], *, port: int = 0) -> None:
        """Make the project and everybody's kits.

        Raises:
            KitError: the folder holds a project already.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        address = f"grpc://{HOST}:{port or _free_port()}"
        project = Project.create(self.project_folder, name="poc", address=address)
        settings = self.project_folder / "server" / "local" / "server.json"
        settings.write_text(f'{{"listen": "{address}"}}\n')
        kits: list[Kit] = [project.make_kit(self.folder / "sites" / name, name, "client") for name in sites]
        project.know([participant_of(kit) for kit in kits])

    def start(self, *, leashed: bool, gpus: Sequence[str] = ()) -> None:
        """Start the server, then the sites; all or none.

        Args:
            leashed: end them with this process.
            gpus: values of ``CUDA_VISIBLE_DEVICES``, which the sites take in turn.
        Raises:
            DaemonError: one cannot be started; the others are stopped.
        """
        environment = environment_for(1)  # the sites share the machine's cores among themselves
        try:
            with waiting("Starting the server"):
                self._daemons.append(
                    start_daemon("server", self.project_folder / "server", leashed=leashed, environment=environment)
                )

            def start_site(name: str) -> RunningDaemon:
                cards = {VARIABLE: gpus[self.sites.index(name) % len(gpus)]} if gpus else {}
                folder = self.folder / "sites" / name
                return start_daemon("client", folder, leashed=leashed, environment={**environment, **cards})

            with waiting("Starting the clients"), ThreadPoolExecutor(8) as pool:
                for daemon in pool.map(start_site, self.sites):
                    self._daemons.append(daemon)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End all processes, whoever has started them; returns when they are gone."""
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda name: stop_daemon("client", self.folder / "sites" / name), self.sites))
        stop_daemon("server", self.project_folder / "server")
        for daemon in self._daemons:
            daemon.stop()
        self._daemons = []

    def status(self) -> dict[str, int | None]:
        """The process of each, by name; None for one that does not run."""
        found = {name: pid_of("client", self.folder / "sites" / name) for name in self.sites}
        return {"server": pid_of("server", self.project_folder / "server"), **found}


class PocEnv:
    """Runs each job in a federation of processes on this machine.

    One that ``flare poc start`` keeps is used, if it has just these sites; else one is started for each job and stopped
    when its result is fetched, or this process ends.

    Args:
        num_clients: how many sites, named ``site-1``, ``site-2``, …
        clients: or their names.
        gpu_config: cards by group of sites, such as ``"0,1"`` or ``"[0,1],[2]"``; sites take the groups in turn.
        workspace_root: where run folders are put; ``$FLARE_WORKSPACE``, else ``flare-runs`` in the working folder.

    Raises:
        RecipeError: neither or contradictory numbers and names of sites, a bad name, or a GPU that is not there.
    """

    def __new__(cls, *arguments: Any, **named: Any) -> Self:  # Python's own error names no argument that may be meant
        check_named(cls.__name__, list(inspect.signature(cls.__init__).parameters)[1:], arguments, named)
        return super().__new__(cls)

    def __init__(
        self,
        *,
        num_clients: int | None = None,
        clients: Sequence[str] | None = None,
        gpu_config: str | None = None,
        workspace_root: str | Path | None = None,
    ) -> None:
        count = (0 if clients else 2) if num_clients is None else check_count(num_clients, "num_clients", minimum=0)
        self.clients = check_clients(count, clients)
        self.gpu_groups = gpu_groups(gpu_config)
        self.workspace_root = workspace_root

    def deploy(self, job: Job) -> ServerRun:
        """Start the federation, and submit ``job``.

        Raises:
            RecipeError: the job does not fit this environment.
            DaemonError: a process cannot be started.
        """
        check_fits(job, self.clients)
        kept = Poc(default_poc())
        is_kept = not self.gpu_groups and kept.sites == natural_order(self.clients)
        if is_kept and all(kept.status().values()):
            return ProdEnv(kept.admin, workspace_root=self.workspace_root).deploy(job)
        poc = Poc(Path(tempfile.mkdtemp(prefix="flare-poc-")))
        unfetched: list[str] = []
        clean_up = weakref.finalize(poc, _remove, poc.folder, poc._daemons, unfetched)
        poc.prepare(self.clients)
        poc.start(leashed=True, gpus=self.gpu_groups)
        try:
            run = ProdEnv(poc.admin, workspace_root=self.workspace_root).deploy(job)
        except BaseException:
            clean_up()
            raise
        unfetched.append(run.get_job_id())

        def done() -> None:
            unfetched.clear()
            clean_up()

        run.when_done(done, poc)
        return run


def _remove(folder: Path, daemons: list[RunningDaemon], unfetched: Sequence[str]) -> None:
    for job in unfetched:
        text = f"warning: the job {job} is ended, as nobody has waited for its result; call run.get_result()"
        print(text, file=sys.stderr)
    sites = daemons[1:]
    for site in sites:  # together, without threads: none can be started when the interpreter ends, which this may be
        site.ask_to_stop()
    for daemon in [*sites, *daemons[:1]]:
        daemon.stop()
    shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])

"""PocEnv: run a job in a federation on this machine, with the processes, kits and encryption of a real one."""

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
from flare_runtime.run.folder import default_workspace, local_folder
from flare_runtime.simulator.environment import check_clients, check_fits
from flare_runtime.simulator.gpus import VARIABLE, gpu_groups

POC_VARIABLE = "FLARE_POC_WORKSPACE"
HOST = "127.0.0.1"


def default_poc() -> Path:
    """Return the folder of ``flare poc start``: ``$FLARE_POC_WORKSPACE``, else one in the user's cache."""
    chosen = os.environ.get(POC_VARIABLE)
    if chosen:
        return Path(chosen).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flare" / "poc"


class Poc:
    """A federation on this machine: its folder and its processes.

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
        """The names of the sites."""
        folder = self.folder / "sites"
        return natural_order(path.name for path in folder.iterdir()) if folder.is_dir() else ()

    def prepare(self, sites: Sequence[str], *, port: int = 0) -> None:
        """Make the project and all kits.

        Raises:
            KitError: the folder has a project already.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        address = f"grpc://{HOST}:{port or _free_port()}"
        project = Project.create(self.project_folder, name="poc", address=address)
        settings = self.project_folder / "server" / "local" / "server.json"
        settings.write_text(f'{{"listen": "{address}"}}\n')
        kits: list[Kit] = [project.make_kit(self.folder / "sites" / name, name, "client") for name in sites]
        project.register([participant_of(kit) for kit in kits])

    def start(self, *, owned: bool, gpus: Sequence[str] = ()) -> None:
        """Start the server, then the sites.

        Args:
            owned: stop them when this process ends.
            gpus: values of ``CUDA_VISIBLE_DEVICES``, assigned to the sites in turn.
        Raises:
            DaemonError: a daemon cannot be started; the others are stopped again.
        """
        environment = environment_for(1)  # the sites share the cores of this machine
        try:
            with waiting("Starting the server"):
                self._daemons.append(
                    start_daemon("server", self.project_folder / "server", owned=owned, environment=environment)
                )

            def start_site(name: str) -> RunningDaemon:
                visible = {VARIABLE: gpus[self.sites.index(name) % len(gpus)]} if gpus else {}
                folder = self.folder / "sites" / name
                return start_daemon("client", folder, owned=owned, environment={**environment, **visible})

            with waiting("Starting the clients"), ThreadPoolExecutor(8) as pool:
                for daemon in pool.map(start_site, self.sites):
                    self._daemons.append(daemon)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop all processes, whoever has started them; return when they have ended."""
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda name: stop_daemon("client", self.folder / "sites" / name), self.sites))
        stop_daemon("server", self.project_folder / "server")
        for daemon in self._daemons:
            daemon.stop()
        self._daemons = []

    def status(self) -> dict[str, int | None]:
        """Return the process id of the server and each site, or None for one that is not running."""
        found = {name: pid_of("client", self.folder / "sites" / name) for name in self.sites}
        return {"server": pid_of("server", self.project_folder / "server"), **found}


class PocEnv:
    """A federation of processes on this machine, as an environment for recipes.

    The federation of ``flare poc start`` is used if it is running and has exactly these sites. Otherwise one is started
    for each job, and stopped when the job's result is fetched or this process ends. The ``local`` folder of such a site
    is ``local/<site>`` in the workspace, if that exists, as in ``SimEnv``.

    Args:
        num_clients: the number of sites, which are named ``site-1``, ``site-2``, …
        clients: the names of the sites, instead of ``num_clients``.
        gpu_config: groups of GPUs, such as ``"0,1"`` or ``"[0,1],[2]"``; sites take the groups in turn.
        workspace_root: the folder for run folders; ``$FLARE_WORKSPACE`` by default, else ``flare-runs`` in the working
            folder.

    Raises:
        RecipeError: names and number of sites contradict each other, a name is invalid, or a GPU does not exist.
    """

    def __new__(cls, *arguments: Any, **named: Any) -> Self:  # so that an error suggests the argument meant
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
        """Start the federation and submit ``job``.

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
        self._give_settings(poc)
        poc.start(owned=True, gpus=self.gpu_groups)
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

    def _give_settings(self, poc: Poc) -> None:
        """Let the sites use the settings, and what they keep beside them, of the simulated sites of their names."""
        workspace = default_workspace() if self.workspace_root is None else Path(self.workspace_root).expanduser()
        for name in self.clients:
            if (owned := local_folder(workspace.absolute(), name)).is_dir():
                local = poc.folder / "sites" / name / "local"
                local.rmdir()
                local.symlink_to(owned)


def _remove(folder: Path, daemons: list[RunningDaemon], unfetched: Sequence[str]) -> None:
    for job in unfetched:
        text = f"warning: the job {job} is stopped, since its result was not fetched; call run.get_result()"
        print(text, file=sys.stderr)
    sites = daemons[1:]
    for site in sites:  # all before the first wait; threads cannot be started while the interpreter exits
        site.ask_to_stop()
    for daemon in [*sites, *daemons[:1]]:
        daemon.stop()
    shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])

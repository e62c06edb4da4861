"""SimEnv: simulates a federation on this machine."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from flare_runtime import SimEnv as FlareSimEnv
from flare_runtime import SimRun
from flare_runtime.simulator.gpus import visible_gpus
from nvflare._flare.deployed import STATES
from nvflare._flare.layout import lay_out
from nvflare.job_config.api import FedJob
from nvflare.recipe.spec import ExecEnv

logger = logging.getLogger(__name__)

WORKSPACE_ROOT = "/tmp/nvflare/simulation"

_LEVELS = {"concise": None, "full": "info", "verbose": "debug"}


class SimEnv(ExecEnv):
    """Simulates a federation on this machine, with :class:`flare_runtime.SimEnv`.

    Args:
        num_clients: the number of sites, which are named ``site-1``, ``site-2``, …
        clients: the names of the sites, instead of a number.
        num_threads: how many scripts run at a time; by default one for each core.
        gpu_config: the GPUs for each group of sites, such as ``"0,1"`` or ``"[0,1],[2]"``.
        log_config: ``concise``, ``full``, ``verbose``, a level, or a logging configuration (a dict, or its file).
        workspace_root: the folder below which the results of each job are written.
        extra: further settings; none is used.
    Raises:
        RecipeError: the number or names of sites are missing or contradictory.
    """

    def __init__(
        self,
        *,
        num_clients: int = 0,
        clients: list[str] | None = None,
        num_threads: int | None = None,
        gpu_config: str | None = None,
        log_config: Any = None,
        workspace_root: str = WORKSPACE_ROOT,
        extra: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(extra)
        if gpu_config and not visible_gpus():
            logger.warning("gpu_config is %r, but this machine has no GPU; the sites compute on CPUs", gpu_config)
            gpu_config = None
        self.workspace_root = workspace_root
        self._arguments: dict[str, Any] = {
            "num_clients": num_clients,
            "clients": clients,
            "num_threads": num_threads,
            "gpu_config": gpu_config,
            "log_config": _LEVELS.get(log_config, log_config) if isinstance(log_config, str) else log_config,
        }
        checked = FlareSimEnv(**self._arguments)
        self.clients = clients
        self.num_clients = len(checked.clients)
        self.num_threads = num_threads or self.num_clients
        self.gpu_config = gpu_config
        self.log_config = log_config
        self._runs: dict[str, SimRun] = {}

    def deploy(self, job: FedJob) -> str:
        """Run a job to its end, and return its name, which is its id.

        Raises:
            JobFailed: the run has failed.
        """
        self.run(job, Path(self.workspace_root), Path(self.workspace_root) / job.name)
        return job.name

    def run(self, job: FedJob, workspace: Path, folder: Path) -> None:
        """Run a job to its end.

        Args:
            job: the job.
            workspace: the folder below which Flare makes the run's folder.
            folder: where the results are to be found.
        Raises:
            JobFailed: the run has failed; its results, logs above all, are there nevertheless.
        """
        env = FlareSimEnv(**self._arguments, workspace_root=workspace)
        flare_job = job.flare_job()
        self._runs[job.name] = run = env.deploy(flare_job)
        lay_out(run, folder, job.outputs, flare_job)
        run.get_result()

    def get_job_status(self, job_id: str) -> str | None:
        """Return how the job ended."""
        return STATES[self._runs[job_id].get_status()]

    def abort_job(self, job_id: str) -> None:
        """Do nothing: a simulated run has ended."""
        return None

    def get_job_result(self, job_id: str, timeout: float = 0.0) -> str | None:
        """Return the folder of the results.

        Raises:
            JobFailed: the run has failed.
        """
        self._runs[job_id].get_result()
        return str(Path(self.workspace_root) / job_id)

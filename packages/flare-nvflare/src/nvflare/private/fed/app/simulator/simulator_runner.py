"""SimulatorRunner, which simulates a job folder on this machine."""

from __future__ import annotations

from pathlib import Path

from flare_core import FlareError
from flare_runtime import SimEnv
from nvflare._flare.layout import lay_out, outputs_of
from nvflare._host.jobs import load_any_job


class SimulatorRunner:
    """Simulates a job folder.

    Args:
        job_folder: the folder.
        workspace: where the results are to be found.
        clients: the names of the sites, separated by commas.
        n_clients: the number of sites, unless they are named.
        threads: how many scripts run at a time.
        gpu: the GPUs for each group of sites.
        max_clients: the largest number of sites.
        log_config: a level, or a logging configuration.
        end_run_for_all: without effect.
    """

    def __init__(
        self,
        job_folder: str,
        workspace: str,
        clients: str | None = None,
        n_clients: int | None = None,
        threads: int | None = None,
        gpu: str | None = None,
        max_clients: int = 100,
        log_config: str | None = None,
        end_run_for_all: bool = False,
    ) -> None:
        self.job_folder = job_folder
        self.workspace = workspace
        self.clients = [each.strip() for each in clients.split(",")] if clients else None
        self.n_clients = n_clients
        self.threads = threads
        self.gpu = gpu
        self.max_clients = max_clients
        self.log_config = log_config

    def run(self) -> int:
        """Run the job to its end, and return 0 if it finished, else 1.

        Raises:
            FlareError: there are more sites than ``max_clients``.
        """
        job = load_any_job(self.job_folder)
        count = len(self.clients or ()) or self.n_clients or len(job.sites) or job.min_clients
        if count > self.max_clients:
            raise FlareError(f"{count} sites are more than max_clients={self.max_clients}; raise it")
        env = SimEnv(
            num_clients=0 if self.clients or job.sites else count,
            clients=self.clients or list(job.sites) or None,
            num_threads=self.threads,
            gpu_config=self.gpu,
            log_config=self.log_config,
            workspace_root=self.workspace,
        )
        run = env.deploy(job)
        lay_out(run, Path(self.workspace), outputs_of(job), job)
        return 0 if run.get_status().value == "finished" else 1

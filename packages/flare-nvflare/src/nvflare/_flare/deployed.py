"""Environments of processes: what PocEnv and ProdEnv share."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from flare_core import Job, Run, RunStatus
from nvflare._flare.app_folders import write_job
from nvflare._flare.layout import Outputs, lay_out_download
from nvflare.job_config.api import FedJob
from nvflare.recipe.spec import ExecEnv

STATES = {
    RunStatus.SUBMITTED: "SUBMITTED",
    RunStatus.WAITING: "SUBMITTED",
    RunStatus.RUNNING: "RUNNING",
    RunStatus.FINISHED: "FINISHED:COMPLETED",
    RunStatus.ABORTED: "FINISHED:ABORTED",
    RunStatus.FAILED: "FINISHED:EXECUTION_EXCEPTION",
}
"""The names that NVIDIA FLARE has for the status of a run."""


class DeployedEnv(ExecEnv):
    """An environment whose jobs run elsewhere, and are waited for."""

    def __init__(self, extra: dict[str, Any] | None = None) -> None:
        super().__init__(extra)
        self._runs: dict[str, tuple[Run, Outputs, Job]] = {}

    @abstractmethod
    def start(self, job: Job) -> Run:
        """Submit a job."""

    def deploy(self, job: FedJob) -> str:
        """Submit a job and return its id."""
        flare_job = job.flare_job()
        run = self.start(flare_job)
        self._runs[run.get_job_id()] = run, job.outputs, flare_job
        return run.get_job_id()

    def get_job_status(self, job_id: str) -> str | None:
        """Return the status of a job."""
        return STATES[self._runs[job_id][0].get_status()]

    def abort_job(self, job_id: str) -> None:
        """Stop a job."""
        self._runs[job_id][0].abort()

    def get_job_result(self, job_id: str, timeout: float = 0.0) -> str | None:
        """Wait for the end of a job and return the folder of its results, with the folders ``job`` and ``workspace``.

        Args:
            job_id: the job.
            timeout: seconds after which None is returned; 0 waits without a limit.
        Raises:
            JobFailed, JobAborted: the job did not finish; its results, logs above all, are there nevertheless.
        """
        run, outputs, job = self._runs[job_id]
        try:
            folder = run.get_result(timeout or None, raise_on_failure=False)
        except TimeoutError:
            return None
        if not (folder / "workspace").exists():
            lay_out_download(run, folder, outputs, write_job(job, folder, weights=True))
        return str(run.get_result())

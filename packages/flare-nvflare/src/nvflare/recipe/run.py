"""Run, a running or completed job."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from flare_core.errors import RecipeError

if TYPE_CHECKING:
    from nvflare.recipe.spec import ExecEnv


class Run:
    """A job in an environment.

    Args:
        exec_env: the environment.
        job_id: the environment's id of the job.
    Raises:
        RecipeError: one of the two is missing.
    """

    def __init__(self, exec_env: ExecEnv, job_id: str) -> None:
        if exec_env is None or not job_id or not isinstance(job_id, str):
            raise RecipeError(f"exec_env is {exec_env!r} and job_id is {job_id!r}; give an environment and a string")
        self.exec_env = exec_env
        self.job_id = job_id
        self._lock = threading.Lock()
        self._stopped = False
        self._status: str | None = None
        self._result: str | None = None

    def get_job_id(self) -> str:
        """Return the environment's id of the job."""
        return self.job_id

    def get_status(self) -> str | None:
        """Return the job's status, the last one that was known if the environment has been stopped."""
        with self._lock:
            return self._status if self._stopped else self.exec_env.get_job_status(self.job_id)

    def get_result(self, timeout: float = 0.0, clean_up: bool = True) -> str | None:
        """Wait for the end of the job, stop the environment, and return the folder of the results.

        Args:
            timeout: seconds after which None is returned; 0 waits without a limit.
            clean_up: delete what the environment has written besides the results.
        Raises:
            JobFailed: the job has failed.
        """
        with self._lock:
            if not self._stopped:
                try:
                    self._result = self.exec_env.get_job_result(self.job_id, timeout=timeout)
                    self._status = self.exec_env.get_job_status(self.job_id)
                finally:
                    self._stopped = True
                    self.exec_env.stop(clean_up=clean_up)
            return self._result

    def abort(self) -> None:
        """Stop the job; do nothing if the environment has been stopped."""
        with self._lock:
            if not self._stopped:
                self.exec_env.abort_job(self.job_id)

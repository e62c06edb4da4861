"""The base classes of recipes and environments."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from flare_core.errors import RecipeError
from nvflare.job_config.api import FedJob
from nvflare.recipe.run import Run


class ExecEnv(ABC):
    """An environment in which jobs run.

    Args:
        extra: further settings by name.
    Raises:
        RecipeError: ``extra`` is not a dict.
    """

    def __init__(self, extra: dict[str, Any] | None = None) -> None:
        if not isinstance(extra, dict | None):
            raise RecipeError(f"extra is a {type(extra).__name__}; give a dict of settings")
        self.extra = extra or {}

    def get_extra_prop(self, prop_name: str, default: Any = None) -> Any:
        """Return one of the further settings."""
        return self.extra.get(prop_name, default)

    @abstractmethod
    def deploy(self, job: FedJob) -> str:
        """Start a job and return its id."""

    @abstractmethod
    def get_job_status(self, job_id: str) -> str | None:
        """Return the status of a job; None if it is not known."""

    @abstractmethod
    def abort_job(self, job_id: str) -> None:
        """Stop a job."""

    @abstractmethod
    def get_job_result(self, job_id: str, timeout: float = 0.0) -> str | None:
        """Wait for the end of a job and return the folder of its results.

        Args:
            job_id: the job.
            timeout: seconds after which None is returned; 0 waits without a limit.
        """

    def stop(self, clean_up: bool = False) -> None:
        """Stop what the environment has started.

        Args:
            clean_up: delete what it has written, too.
        """
        return None


class Recipe:
    """A job with arguments and additions, which can be executed in any environment.

    Args:
        job: the job.
    """

    def __init__(self, job: FedJob) -> None:
        self.job = job

    def process_env(self, env: ExecEnv) -> None:
        """Adapt the job to the environment in which it will run; a subclass can override this."""
        return None

    def export(
        self,
        job_dir: str,
        server_exec_params: dict[str, Any] | None = None,
        client_exec_params: dict[str, Any] | None = None,
        env: ExecEnv | None = None,
    ) -> None:
        """Write the job to a folder below ``job_dir``.

        Args:
            job_dir: the folder.
            server_exec_params: settings of the server, for this call.
            client_exec_params: settings of the sites, for this call.
            env: the environment for which the job is made.
        """
        with self.job.settings(server_exec_params, client_exec_params):
            if env is not None:
                self.process_env(env)
            self.job.export_job(job_dir)

    def execute(
        self,
        env: ExecEnv,
        server_exec_params: dict[str, Any] | None = None,
        client_exec_params: dict[str, Any] | None = None,
    ) -> Run:
        """Run the job in ``env`` and return the run.

        Args:
            env: the environment.
            server_exec_params: settings of the server, for this call.
            client_exec_params: settings of the sites, for this call.
        Raises:
            JobFailed: the run has failed; the message has the site, the traceback and the folder.
        """
        with self.job.settings(server_exec_params, client_exec_params):
            self.process_env(env)
            return Run(env, env.deploy(self.job))


def without(arguments: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return ``arguments`` without some of them, and without those that Python itself adds to ``locals()``."""
    return {name: value for name, value in arguments.items() if name not in {"self", "__class__", *names}}

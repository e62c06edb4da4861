"""The base classes of recipes and environments."""

from __future__ import annotations

import importlib
import sys
from abc import ABC, abstractmethod
from typing import Any

from flare_core.errors import RecipeError
from flare_core.job import ALL_SITES
from nvflare.job_config.api import FedJob
from nvflare.job_config.defs import FilterType
from nvflare.recipe.run import Run


def _export_folder(arguments: list[str]) -> str | None:
    """Remove ``--export`` and ``--export-dir`` from a program's arguments, before it reads them itself.

    Returns:
        The folder to write jobs to instead of running them; None to run them.
    """
    found, place = False, "./fl_job"
    index = 1
    while index < len(arguments):
        name, is_assigned, value = arguments[index].partition("=")
        if arguments[index] == "--export":
            found = True
            del arguments[index]
        elif name == "--export-dir" and (is_assigned or index + 1 < len(arguments)):
            place = value if is_assigned else arguments[index + 1]
            del arguments[index : index + (1 if is_assigned else 2)]
        else:
            index += 1
    return place if found else None


_EXPORT_TO = _export_folder(sys.argv)


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

    def set_per_site_config(self, config: dict[str, dict[str, Any]]) -> None:
        """Set settings of sites that replace the recipe's, before anything is added to it.

        Raises:
            RecipeError: something has been added already, or the recipe has no settings of sites.
        """
        if self.job.remade is None:
            raise RecipeError(f"{type(self).__name__} has no settings of sites")
        if self.job.is_extended:
            raise RecipeError("set the settings of sites before anything is added to the recipe")
        self.job = self.job.remade(config)

    def configured_sites(self) -> list[str]:
        """Return the names of the sites that have settings of their own."""
        return list(getattr(self.job.native, "per_site_config", None) or self.job.clients)

    def enable_log_streaming(self, *file_names: str) -> None:
        """Do nothing: the logs of all sites are in the run's folder."""

    def enable_tensor_streaming(
        self,
        format: str = "pytorch",
        tasks: list[str] | None = None,
        tensor_send_timeout: float = 30.0,
        wait_send_task_data_all_clients_timeout: float = 300.0,
    ) -> None:
        """Do nothing: tensors are always streamed; no argument has an effect."""

    def add_client_input_filter(
        self, filter: Any, tasks: list[str] | None = None, clients: list[str] | None = None
    ) -> None:
        """Filter tasks when they reach the sites; all tasks and all sites by default."""
        self._add_to_clients(filter, clients, filter_type=FilterType.TASK_DATA, tasks=tasks)

    def add_client_output_filter(
        self, filter: Any, tasks: list[str] | None = None, clients: list[str] | None = None
    ) -> None:
        """Filter results before they leave the sites; all tasks and all sites by default."""
        self._add_to_clients(filter, clients, filter_type=FilterType.TASK_RESULT, tasks=tasks)

    def add_server_output_filter(self, filter: Any, tasks: list[str] | None = None) -> None:
        """Filter tasks before they leave the server; all tasks by default."""
        self.job.to_server(filter, filter_type=FilterType.TASK_DATA, tasks=tasks)

    def add_server_input_filter(self, filter: Any, tasks: list[str] | None = None) -> None:
        """Filter results when they reach the server; all tasks by default."""
        self.job.to_server(filter, filter_type=FilterType.TASK_RESULT, tasks=tasks)

    def add_client_config(self, config: dict[str, Any], clients: list[str] | None = None) -> None:
        """Set values that the sites' scripts read with ``flare.get_config()``.

        Raises:
            TypeError: ``config`` is not a dict.
        """
        self._add_to_clients(_checked(config, dict, "config"), clients)

    def add_server_config(self, config: dict[str, Any]) -> None:
        """Set values that the server's components read.

        Raises:
            TypeError: ``config`` is not a dict.
        """
        self.job.to_server(_checked(config, dict, "config"))

    def add_client_file(self, file_path: str, clients: list[str] | None = None) -> None:
        """Send a file or a folder to the sites.

        Raises:
            TypeError: ``file_path`` is not a string.
        """
        self._add_to_clients(_checked(file_path, str, "file_path"), clients)

    def add_server_file(self, file_path: str) -> None:
        """Send a file or a folder to the server.

        Raises:
            TypeError: ``file_path`` is not a string.
        """
        self.job.to_server(_checked(file_path, str, "file_path"))

    def add_decomposers(self, decomposers: list[Any]) -> None:
        """Register more types for serialization, by the class paths of decomposers, or decomposers themselves."""
        if decomposers:
            names = [
                each if isinstance(each, str) else f"{type(each).__module__}.{type(each).__qualname__}"
                for each in decomposers
            ]
            widgets = importlib.import_module("nvflare.app_common.widgets.decomposer_reg")
            register = widgets.DecomposerRegister(names)
            self.job.to_server(register, id="decomposer_reg")
            self._add_to_clients(register, None, id="decomposer_reg")

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

        If the program was started with ``--export``, write the job below ``--export-dir`` instead, and exit.

        Args:
            env: the environment.
            server_exec_params: settings of the server, for this call.
            client_exec_params: settings of the sites, for this call.
        Raises:
            JobFailed: the run has failed; the message has the site, the traceback and the folder.
            SystemExit: the job was written instead.
        """
        if _EXPORT_TO is not None:
            self.export(_EXPORT_TO, server_exec_params, client_exec_params, env)
            raise SystemExit(0)
        with self.job.settings(server_exec_params, client_exec_params):
            self.process_env(env)
            return Run(env, env.deploy(self.job))

    def run(
        self,
        env: ExecEnv,
        server_exec_params: dict[str, Any] | None = None,
        client_exec_params: dict[str, Any] | None = None,
    ) -> Run:
        """Run the job; the same as :meth:`execute`."""
        return self.execute(env, server_exec_params, client_exec_params)

    def _add_to_clients(self, added: Any, clients: list[str] | None, **options: Any) -> None:
        """Add something to some sites; if none are named, to all, each of which may have an app of its own."""
        named = None if self.job.native else self.job.clients
        for target in clients or named or [ALL_SITES]:
            self.job.to(added, target, **options)


def _checked(value: Any, kind: type, name: str) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{name} is a {type(value).__name__}; give a {kind.__name__}")
    return value

"""ScriptRunner, a script with the Client API as a part of a job."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from flare_core import RecipeError
from nvflare._flare.describe import Described
from nvflare._flare.parts import place_of
from nvflare.client.config import ExchangeFormat, TransferType
from nvflare.fuel.utils.constants import FrameworkType
from nvflare.job_config.api import FedJob, JobCtx

__all__ = ["BaseScriptRunner", "FrameworkType", "PipeConnectType", "ScriptRunner"]

_FORMATS = {
    FrameworkType.NUMPY: ExchangeFormat.NUMPY,
    FrameworkType.PYTORCH: ExchangeFormat.PYTORCH,
    FrameworkType.RAW: ExchangeFormat.RAW,
    FrameworkType.TENSORFLOW: ExchangeFormat.KERAS_LAYER_WEIGHTS,
}
_PACKAGES = {FrameworkType.PYTORCH: "torch", FrameworkType.TENSORFLOW: "tensorflow"}
_IN_PROCESS = {
    FrameworkType.PYTORCH: "nvflare.app_opt.pt.in_process_client_api_executor.PTInProcessClientAPIExecutor",
    FrameworkType.TENSORFLOW: "nvflare.app_opt.tf.in_process_client_api_executor.TFInProcessClientAPIExecutor",
}
_LAUNCHED = {
    FrameworkType.PYTORCH: "nvflare.app_opt.pt.client_api_launcher_executor.PTClientAPILauncherExecutor",
    FrameworkType.TENSORFLOW: "nvflare.app_opt.tf.client_api_launcher_executor.TFClientAPILauncherExecutor",
}
_PLAIN = "nvflare.app_common.executors.in_process_client_api_executor.InProcessClientAPIExecutor"
_PLAIN_LAUNCHED = "nvflare.app_common.executors.client_api_launcher_executor.ClientAPILauncherExecutor"
_LAUNCHER = "nvflare.app_common.launchers.subprocess_launcher.SubprocessLauncher"
_PIPE = "nvflare.fuel.utils.pipe.cell_pipe.CellPipe"


class PipeConnectType:
    """How a script's process reaches its site; Flare connects it itself."""

    VIA_ROOT = "via_root"
    VIA_CP = "via_cp"
    VIA_RELAY = "via_relay"


class BaseScriptRunner:
    """A script with the Client API.

    Args:
        script: its path.
        script_args: its arguments.
        launch_external_process: run it in a process of its own.
        command: the command that starts such a process.
        server_expected_format: the form of the arrays at the server.
        framework: the framework of the script's arrays.
        params_transfer_type: send whole models, or their difference to the received one.
        executor, launcher: objects to use in place of the usual ones.
        task_pipe, metric_relay, metric_pipe, pipe_connect_type: without effect; Flare connects a process itself.
        launch_once, shutdown_timeout, memory_gc_rounds, cuda_empty_cache: without effect, as well.
    Raises:
        RecipeError: the framework is not installed here.
    """

    def __init__(
        self,
        script: str,
        script_args: str = "",
        launch_external_process: bool = False,
        command: str = "python3 -u",
        server_expected_format: ExchangeFormat = ExchangeFormat.NUMPY,
        framework: FrameworkType = FrameworkType.PYTORCH,
        params_transfer_type: TransferType = TransferType.FULL,
        executor: Any = None,
        task_pipe: Any = None,
        launcher: Any = None,
        metric_relay: Any = None,
        metric_pipe: Any = None,
        pipe_connect_type: str | None = None,
        launch_once: bool = True,
        shutdown_timeout: float = 0.0,
        memory_gc_rounds: int = 0,
        cuda_empty_cache: bool = False,
    ) -> None:
        package = _PACKAGES.get(framework)
        if package is not None and find_spec(package) is None:
            raise RecipeError(f"framework is {framework!r}, but {package} is not installed here")
        self.script = script
        self.script_args = script_args
        self.launch_external_process = launch_external_process
        self.command = command
        self.framework = FrameworkType(framework)
        self.launch_once = launch_once
        self.shutdown_timeout = shutdown_timeout
        self._executor = executor
        self._launcher = launcher
        self._exchange = {
            "params_exchange_format": _FORMATS[self.framework],
            "params_transfer_type": params_transfer_type,
            "server_expected_format": server_expected_format,
        }

    def add_to_fed_job(self, job: FedJob, ctx: JobCtx, **kwargs: Any) -> dict[str, str]:
        """Add the script to the party that ``ctx`` names.

        Args:
            job: the job.
            ctx: the place.
            kwargs: ``tasks``, the names of the tasks that the script does; all by default.
        Returns:
            The ids of the components that were added.
        """
        job.check_kwargs(kwargs, {"tasks": False})
        tasks = kwargs.get("tasks", ["*"])
        ids: dict[str, str] = {}
        job.add_resources([self.script], ctx)
        script = place_of(Path(self.script)) if Path(self.script).is_file() else self.script
        if not self.launch_external_process:
            args = {"task_script_path": script, "task_script_args": self.script_args, **self._exchange}
            path = _IN_PROCESS.get(self.framework, _PLAIN)
            job.add_executor(self._executor or Described(path, args), tasks, ctx)
            return ids
        pipe = {
            "mode": "PASSIVE",
            "site_name": "{SITE_NAME}",
            "token": "{JOB_ID}",
            "root_url": "{CP_URL}",
            "secure_mode": "{SECURE_MODE}",
            "workspace_dir": "{WORKSPACE}",
        }
        ids["pipe_id"] = job.add_component("pipe", Described(_PIPE, pipe), ctx)
        line = f"{self.command} custom/{script} {self.script_args}".rstrip()
        started = {"script": line, "launch_once": self.launch_once, "shutdown_timeout": self.shutdown_timeout}
        launcher = self._launcher or Described(_LAUNCHER, started)
        ids["launcher_id"] = job.add_component("launcher", launcher, ctx)
        path = _LAUNCHED.get(self.framework, _PLAIN_LAUNCHED)
        job.add_executor(self._executor or Described(path, {**ids, **self._exchange}), tasks, ctx)
        metrics = job.add_component("metrics_pipe", Described(_PIPE, pipe), ctx)
        relay = {"pipe_id": metrics, "event_type": "fed.analytix_log_stats", "heartbeat_timeout": 0}
        ids["metric_pipe_id"] = metrics
        ids["metric_relay_id"] = job.add_component(
            "metric_relay", Described("nvflare.app_common.widgets.metric_relay.MetricRelay", relay), ctx
        )
        preparer = Described(
            "nvflare.app_common.widgets.external_configurator.ExternalConfigurator",
            {"component_ids": [ids["metric_relay_id"]]},
        )
        ids["config_preparer_id"] = job.add_component("config_preparer", preparer, ctx)
        return ids


class ScriptRunner(BaseScriptRunner):
    """A script with the Client API; arguments as for :class:`BaseScriptRunner`."""

    def __init__(
        self,
        script: str,
        script_args: str = "",
        launch_external_process: bool = False,
        command: str = "python3 -u",
        framework: FrameworkType = FrameworkType.PYTORCH,
        server_expected_format: ExchangeFormat = ExchangeFormat.NUMPY,
        params_transfer_type: TransferType = TransferType.FULL,
        pipe_connect_type: str = PipeConnectType.VIA_CP,
        task_pipe: Any = None,
        launch_once: bool = True,
        shutdown_timeout: float = 0.0,
        memory_gc_rounds: int = 0,
        cuda_empty_cache: bool = False,
        *,
        launch_timeout: float | None = 300.0,
        execution_mode: Any = None,
    ) -> None:
        super().__init__(
            script=script,
            script_args=script_args,
            launch_external_process=launch_external_process,
            command=command,
            server_expected_format=server_expected_format,
            framework=framework,
            params_transfer_type=params_transfer_type,
            launch_once=launch_once,
            shutdown_timeout=shutdown_timeout,
        )

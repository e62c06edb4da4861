"""Executors of NVIDIA FLARE that run a script with the Client API, as Flare's own execution of scripts.

How such a script is started and reached, by threads, pipes, launchers and relays, is Flare's own business.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from flare_core import JobError
from flare_core.components import Component
from nvflare._host.build import resolved

_IN_PROCESS = {
    "InProcessClientAPIExecutor": "numpy",
    "PTInProcessClientAPIExecutor": "pytorch",
    "TFInProcessClientAPIExecutor": "tensorflow",
}
_LAUNCHED = {
    "ClientAPILauncherExecutor": "numpy",
    "PTClientAPILauncherExecutor": "pytorch",
    "TFClientAPILauncherExecutor": "tensorflow",
    "ClientAPIExecutor": "numpy",
    "PTClientAPIExecutor": "pytorch",
    "TFClientAPIExecutor": "tensorflow",
}
_FORMS = {"numpy": "numpy", "pytorch": "pytorch", "raw": "numpy", "keras_layer_weights": "tensorflow"}
_CONNECTIONS = {
    "CellPipe",
    "FilePipe",
    "MetricRelay",
    "ExternalConfigurator",
    "SubprocessLauncher",
    "ClientAPILauncher",
}
_CONVERTERS = {
    "NumpyToPTParamsConverter",
    "PTToNumpyParamsConverter",
    "NumpyToKerasModelParamsConverter",
    "KerasModelToNumpyParamsConverter",
}


def is_script_executor(path: str) -> bool:
    """Return True if a class path is that of an executor that runs a script with the Client API."""
    return path.startswith("nvflare.") and _name(path) in {*_IN_PROCESS, *_LAUNCHED}


def is_connection(path: str) -> bool:
    """Return True if a class path is that of a component that only connects a script to its site."""
    return path.startswith("nvflare.") and _name(path) in _CONNECTIONS | _CONVERTERS


def is_metric_forwarder(entry: Mapping[str, Any]) -> bool:
    """Return True for a component that only sends to the server what scripts log, which Flare does itself."""
    events = (entry.get("args") or {}).get("events_to_convert") or []
    is_converter = str(entry.get("path", "")).endswith(".ConvertToFedEvent")
    return is_converter and isinstance(events, list) and all(each == "analytix_log_stats" for each in events)


def script_executor(
    entry: Mapping[str, Any], components: Mapping[str, Mapping[str, Any]], variables: Mapping[str, Any], where: str
) -> Component:
    """Return Flare's executor for a script.

    Args:
        entry: the description of NVIDIA FLARE's executor, with ``path`` and ``args``.
        components: the descriptions of the site's components by id, among them the launcher.
        variables: values for ``{name}`` in strings.
        where: the configuration file, for messages.
    Raises:
        JobError: there is no script to run.
    """
    name, args = _name(entry["path"]), resolved(dict(entry.get("args") or {}), variables)
    form = _IN_PROCESS.get(name) or _LAUNCHED[name]
    if given := args.get("params_exchange_format"):
        form = _FORMS.get(str(given), form)
    made: dict[str, Any] = {
        "params_transfer_type": str(args.get("params_transfer_type") or "FULL"),
        "exchange_format": form,
    }
    if name in _IN_PROCESS or args.get("task_script_path"):
        script = args.get("task_script_path")
        if not isinstance(script, str) or not script:
            raise JobError(f"{where}: {name} needs 'task_script_path', the script that it runs")
        made |= {"script": _place(script), "args": shlex.split(str(args.get("task_script_args") or ""))}
    else:
        command = args.get("command") or args.get("script") or _launched(args, components, variables, name, where)
        made |= {"launch_external_process": True, **_split(command, name, where)}
    return Component("nvflare._host.site_script.SiteScript", made)


def _launched(
    args: Mapping[str, Any],
    components: Mapping[str, Mapping[str, Any]],
    variables: Mapping[str, Any],
    name: str,
    where: str,
) -> Any:
    launcher = components.get(str(args.get("launcher_id")))
    if launcher is None:
        raise JobError(
            f"{where}: {name} has no launcher, so somebody else would have to start the script; add a"
            " SubprocessLauncher, or run the script in the site with InProcessClientAPIExecutor"
        )
    return resolved((launcher.get("args") or {}).get("script"), variables)


def _split(command: Any, name: str, where: str) -> dict[str, Any]:
    """Split a command line into the command, the script and its arguments."""
    parts = shlex.split(command) if isinstance(command, str) else [str(each) for each in command or ()]
    at = next((index for index, part in enumerate(parts) if part.endswith((".py", ".sh"))), None)
    if at is None:
        raise JobError(f"{where}: {name} starts {command!r}; Flare needs a script in it, such as custom/client.py")
    return {"command": parts[:at] or ["python3", "-u"], "script": _place(parts[at]), "args": parts[at + 1 :]}


def _place(script: str) -> str:
    """Return the path of a script within the code of its app."""
    path = PurePosixPath(script)
    if path.is_absolute():
        return str(path)
    parts = path.parts
    return str(PurePosixPath(*(parts[1:] if parts[0] == "custom" else parts)))


def _name(path: str) -> str:
    return path.rpartition(".")[2]

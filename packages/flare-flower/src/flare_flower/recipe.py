"""FlowerRecipe: a Flower app as a job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flare_core import RecipeError
from flare_core.additions import checked_config
from flare_core.code import calling_folder
from flare_core.components import Component
from flare_core.job import ClientApp, ExecutorEntry, Job, ServerApp
from flare_core.job_folder import CLIENT_KEYS
from flare_core.recipe import Recipe, check_seconds
from flare_flower.app import FlowerApp

_SITE_KEYS = ("node_config", "config")


@dataclass(kw_only=True, eq=False, repr=False)
class FlowerRecipe(Recipe):
    """A Flower app, unchanged, run by Flower's own SuperLink, SuperNodes and app processes inside the job.

    Their traffic takes the job's connections. The app's ``context.node_config`` has ``partition-id`` and
    ``num-partitions``, by the order of the sites.

    Args:
        flower_content: the app's folder, with a ``pyproject.toml`` that names its ServerApp and its ClientApp.
        run_config: values by name that replace those of the app's ``[tool.flwr.app.config]``.
        stop_after_s: how long the ServerApp may wait for nodes before the run fails, in seconds.
        per_site_config: by site, ``{"node_config": {...}, "config": {...}}``: further values of
            ``context.node_config``, and what ``flare_core.client.get_config()`` returns in the ClientApp.
        reconnect_grace_s: seconds to wait while too few sites are connected before the run fails.

    Raises:
        RecipeError: an argument is unusable, or the folder is no Flower app; names the file and the remedy.

    Example:
        recipe = FlowerRecipe(flower_content="hello-flower", min_clients=2, run_config={"num-server-rounds": 3})
    """

    name: str = "flower"
    flower_content: str | Path
    run_config: Mapping[str, Any] | None = None
    stop_after_s: float = 600.0
    per_site_config: Mapping[str, Mapping[str, Any]] | None = None
    reconnect_grace_s: float | None = None

    def _check(self) -> None:
        super()._check()
        self._app = FlowerApp.read(self.flower_content, calling_folder())
        seconds = check_seconds(self.stop_after_s, "stop_after_s")
        if seconds is None:
            raise RecipeError("stop_after_s is None; give a number of seconds above 0")
        self.stop_after_s = seconds
        self._run_config = _checked_values(self.run_config, "run_config")
        for name in self._run_config:
            if name not in self._app.run_config:
                known = ", ".join(self._app.run_config) or "none"
                raise RecipeError(
                    f"run_config has {name!r}, which the app's [tool.flwr.app.config] does not have; it has {known}"
                )
        self._sites = _checked_sites(self.per_site_config)
        self._bundle = self._app.bundle()  # now, so that later changes to the folder do not matter

    def build(self) -> Job:
        name, code = self._bundle
        imports = self._app.imports(self._app.serverapp)
        server = {
            "app": name,
            "run_config": self._run_config,
            "stop_after_s": self.stop_after_s,
            "imports": list(imports),
        }
        return Job(
            name=self.name,
            min_clients=self.min_clients,
            server=ServerApp(
                workflows=[
                    Component(
                        "flare_flower.workflow.FlowerWorkflow", {"imports": imports, "min_clients": self.min_clients}
                    )
                ],
                components={"flower": Component("flare_flower.server.FlowerServer", server)},
            ),
            client=self._client({}, {}),
            sites={
                site: self._client(values.get("node_config", {}), values.get("config", {}))
                for site, values in self._sites.items()
            },
            code=code,
        )

    def job(self) -> Job:
        """Return a new job for this recipe, with all additions.

        Raises:
            RecipeError: filters were added, which could not see what the app sends.
        """
        job = super().job()
        apps: list[ClientApp | ServerApp] = [job.client, *job.sites.values(), job.server]
        if any(app.task_data_filters or app.task_result_filters for app in apps):
            raise RecipeError(
                "Flare's filters cannot see what a Flower app sends; remove them from the recipe, and use Flower's mods"
                " in the app, such as fixedclipping_mod and LocalDpMod"
            )
        return job

    def _client(self, node_config: Mapping[str, Any], config: Mapping[str, Any]) -> ClientApp:
        args = {"imports": self._app.imports(self._app.clientapp), "node_config": dict(node_config)}
        executor = Component("flare_flower.executor.FlowerExecutor", args)
        return ClientApp(executors=[ExecutorEntry(("*",), executor)], config=dict(config))


def _checked_sites(given: Any) -> dict[str, dict[str, Any]]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise RecipeError(f"per_site_config is {given!r}; give a dict of settings by site")
    checked: dict[str, dict[str, Any]] = {}
    for site, values in given.items():
        where = f"per_site_config[{site!r}]"
        if not isinstance(values, Mapping) or set(values) - {*_SITE_KEYS}:
            raise RecipeError(f"{where} is {values!r}; give a dict with {' and '.join(_SITE_KEYS)}")
        checked[site] = {
            "node_config": _checked_node_config(values.get("node_config"), f"{where}['node_config']"),
            "config": checked_config(values.get("config") or {}, CLIENT_KEYS),
        }
    return checked


def _checked_node_config(given: Any, name: str) -> dict[str, Any]:
    """Return values that a SuperNode's command line can carry."""
    values = _checked_values(given, name)
    for key, value in values.items():
        if isinstance(value, str) and not {*value}.isdisjoint({'"', "\\", "\n"}):
            raise RecipeError(
                f"{name}[{key!r}] is {value!r}; flower-supernode takes no quotes, backslashes or line ends"
            )
    return values


def _checked_values(given: Any, name: str) -> dict[str, Any]:
    """Return values as Flower's configurations take them: numbers, booleans and text by name."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise RecipeError(f"{name} is {given!r}; give a dict of values by name")
    for key, value in given.items():
        if not isinstance(key, str) or not isinstance(value, bool | int | float | str):
            raise RecipeError(f"{name}[{key!r}] is {value!r}; Flower takes numbers, booleans and text")
    return dict(given)

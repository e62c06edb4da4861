"""Jobs in which sites have control: a swarm is Flare's own, and a cycle is run by the server."""

from __future__ import annotations

import importlib
import shlex
from typing import TYPE_CHECKING, Any

from flare_core import Job, JobError, RecipeError
from nvflare._flare.evaluating import add_evaluation, sites_of_evaluation
from nvflare._flare.names import check_import
from nvflare._host.build import build_component, resolved
from nvflare._host.scripts import is_script_executor, script_executor
from nvflare.app_common.np.constants import NPConstants

if TYPE_CHECKING:
    from nvflare._host.jobs import AppConfig

_CONTROLLERS = "nvflare.app_common.ccwf."
_CYCLIC = "nvflare.app_common.workflows.cyclic_ctl.CyclicController"
_SCRIPT_SETTINGS = ("launch_external_process", "command", "params_transfer_type")


def swarm_job(server: AppConfig, clients: list[AppConfig], name: str, min_clients: int) -> Job | None:
    """Return the job of a swarm; None if the configuration is of another kind.

    Args:
        server: the server's configuration.
        clients: those of the sites.
        name: the job's name.
        min_clients: how many sites it needs.

    Raises:
        JobError: the swarm has parts that Flare's cannot have; says which.
    """
    swarm = _workflow(server, "SwarmServerController")
    if swarm is None:
        return None
    evaluation = _workflow(server, "CrossSiteEvalServerController")
    _check_swarm(server, clients, 1 if evaluation is None else 2)
    site = clients[0]
    components = {str(each.get("id")): each for each in site.entries("components")}
    executors = [dict(each.get("executor") or {}) for each in site.entries("executors")]
    control = next((each for each in executors if str(each.get("path", "")).endswith("SwarmClientController")), {})
    persistor = components.get(str((control.get("args") or {}).get("persistor_id") or "persistor"))
    trainer = next((each for each in executors if is_script_executor(str(each.get("path", "")))), None)
    if trainer is None or persistor is None:
        missing = "an executor that runs a script" if trainer is None else "a persistor with the model to begin with"
        raise JobError(f"{site.path}: Flare's swarm needs {missing}; others can be written for flare_core.Workflow")
    script = dict(script_executor(trainer, components, site.variables, str(site.path)).args)
    model = _model_of(build_component(persistor, site.variables))
    if model is None:
        raise JobError(f"{site.path}: the persistor has no model to begin with; give it one as 'model'")
    args = resolved(dict(swarm.get("args") or {}), server.variables)
    selector = next((each for each in components.values() if str(each["path"]).endswith("IntimeModelSelector")), None)
    package = "flare_recipes_pt" if ".pt." in str(persistor["path"]) else "flare_recipes_np"
    check_import(package.replace("_", "-"), package, "SwarmServerController")
    try:
        recipe = importlib.import_module(package).SwarmLearningRecipe(
            name=name,
            min_clients=max(min_clients, int(args.get("min_clients") or 1)),
            num_rounds=int(args.get("num_rounds", 1)),
            initial_model=model,
            train_script=str(site.code.locate(script["script"])),
            train_args=shlex.join(script.get("args") or ()),
            aggregator_sites=args.get("aggr_clients") or None,
            key_metric=None if selector is None else (selector.get("args") or {}).get("key_metric", "val_accuracy"),
            **{key: _command(script[key]) for key in _SCRIPT_SETTINGS if key in script},
        )
        if evaluation is not None:
            settings = resolved(dict(evaluation.get("args") or {}), server.variables)
            add_evaluation(recipe, sites_of_evaluation(settings))
        job: Job = recipe.job()
    except RecipeError as error:
        raise JobError(f"{site.path}: {error}") from error
    return job


def _check_swarm(server: AppConfig, clients: list[AppConfig], workflows: int) -> None:
    """Refuse a swarm with more workflows than are known, different sites, or filters."""
    if len(server.entries("workflows")) > workflows:
        raise JobError(
            f"{server.path}: a swarm's server has no model for other workflows than a CrossSiteEvalServerController;"
            " remove them"
        )
    site = clients[0]
    if any(each.content != site.content for each in clients):
        raise JobError(f"{clients[1].path}: the sites of a swarm must have the same configuration")
    for key in ("task_data_filters", "task_result_filters"):
        if site.entries(key):
            raise JobError(f"{site.path}: {key} of a swarm are not supported in job folders; add them to a recipe")


def move_cycle(server: AppConfig, clients: list[AppConfig]) -> None:
    """Let the server run a cycle that a configuration leaves to the sites, with their persistor and generator.

    Args:
        server: the server's configuration, which is changed.
        clients: those of the sites, which are changed.
    """
    cycle = _workflow(server, "CyclicServerController")
    if cycle is None or not clients:
        return
    given, args = dict(cycle.get("args") or {}), {}
    for entry in clients[0].entries("executors"):
        control = dict(entry.get("executor") or {})
        if str(control.get("path", "")).endswith("CyclicClientController"):
            args = dict(control.get("args") or {})
    ids = {key: str(args.get(key) or key[:-3]) for key in ("persistor_id", "shareable_generator_id")}
    moved = [each for each in clients[0].entries("components") if each.get("id") in ids.values()]
    order = given.get("cyclic_order")
    cycle["path"] = _CYCLIC
    cycle["args"] = {
        "num_rounds": given.get("num_rounds", 5),
        **ids,
        **({} if order is None else {"order": "RANDOM" if order == "random" else "FIXED"}),
    }
    server.content["workflows"] = [
        cycle if str(each.get("path", "")).endswith("CyclicServerController") else each
        for each in server.entries("workflows")
    ]
    server.content["components"] = [*server.entries("components"), *moved]
    server.variables = {**clients[0].variables, **server.variables}
    for client in clients:
        client.content["executors"] = [
            each
            for each in client.entries("executors")
            if not str((each.get("executor") or {}).get("path", "")).endswith("CyclicClientController")
        ]
        client.content["components"] = [each for each in client.entries("components") if each not in moved]


def _workflow(server: AppConfig, name: str) -> dict[str, Any] | None:
    for each in server.entries("workflows"):
        path = str(each.get("path", ""))
        if path.startswith(_CONTROLLERS) and path.endswith(f".{name}"):
            return each
    return None


def _model_of(persistor: Any) -> Any:
    from nvflare.app_common.np.np_model_persistor import NPModelPersistor

    if isinstance(persistor, NPModelPersistor):
        first = persistor.first()
        return first if isinstance(first, dict) else {NPConstants.NUMPY_KEY: first}
    return getattr(persistor, "model", None)


def _command(value: Any) -> Any:
    return shlex.join(value) if isinstance(value, list) else value

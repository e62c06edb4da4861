"""Flare's own recipes, given the arguments and the additions of NVIDIA FLARE's."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from flare_core import Aggregator, Job, ModelTypeError, Observer, Recipe, RecipeError, Service
from flare_core.additions import copy_of
from flare_core.components import Component
from flare_core.job import ALL_SITES, SERVER, ClientApp, FilterEntry, ServerApp
from flare_core.recipes.script import ScriptRecipe
from nvflare._flare.aggregator import ForeignAggregator
from nvflare._flare.job_form import AppForm
from nvflare._flare.layout import Outputs
from nvflare._flare.parts import Parts, add_files
from nvflare.job_config.api import FedJob

logger = logging.getLogger(__name__)

_SAME = {
    "name",
    "min_clients",
    "num_rounds",
    "train_script",
    "train_args",
    "launch_external_process",
    "command",
    "params_transfer_type",
    "key_metric",
    "key_metric_mode",
    "stop_cond",
    "patience",
    "exclude_vars",
    "aggregation_weights",
    "optimizer_args",
    "lr_scheduler_args",
    "trainable",
}
_PLACES = {
    "flare_recipes_np.FedAvgRecipe": "nvflare.app_common.np.recipes.NumpyFedAvgRecipe",
    "flare_recipes_pt.": "nvflare.app_opt.pt.recipes.",
    "flare_recipes_tf.": "nvflare.app_opt.tf.recipes.",
}
"""What recipes are called here, for errors that name the one to use."""

_PER_SITE = {"train_script", "train_args", "launch_external_process", "command", "params_transfer_type"}


def native_job(recipe: type[Recipe], given: Mapping[str, Any], outputs: Outputs, **more: Any) -> FedJob:
    """Return the job of one of Flare's recipes.

    Args:
        recipe: Flare's recipe.
        given: the arguments of the recipe there; those that are called the same are passed on, with ``model`` or
            ``initial_model``, ``initial_ckpt`` and ``per_site_config``. The others say how NVIDIA FLARE's own parts
            work, such as when they collect garbage, and have no counterpart.
        outputs: where the results are to be found.
        more: further arguments of ``recipe``.
    Raises:
        RecipeError: an argument is unusable.
    """
    known = set(recipe.__dataclass_fields__)
    arguments = {name: value for name, value in given.items() if name in _SAME & known and value is not None}
    if "key_metric" in given:
        arguments["key_metric"] = given["key_metric"] or None
    if issubclass(recipe, ScriptRecipe):
        model = given.get("model")
        arguments["initial_model"] = given.get("initial_model") if model is None else model
        arguments["initial_ckpt"] = given.get("initial_ckpt")
        arguments["per_site_config"] = per_site(given.get("per_site_config"))
    try:
        job = FedJob.of(recipe(**(arguments | more)), outputs)
    except ModelTypeError as error:
        text = str(error)
        for ours, theirs in _PLACES.items():
            text = text.replace(ours, theirs)
        raise ModelTypeError(text) from None
    if "per_site_config" in given:
        job.remade = lambda config: native_job(recipe, {**given, "per_site_config": config}, outputs, **more)
    return job


def averaging_job(recipe: type[Recipe], given: Mapping[str, Any], outputs: Outputs, **more: Any) -> FedJob:
    """Return the job of a recipe that averages; arguments as for :func:`native_job`.

    As there, a round takes ``min_clients`` sites, drawn at random if more are connected.

    Raises:
        RecipeError: an argument is unusable, or takes the place of a part that Flare has no room for.
    """
    for name in ("model_persistor", "model_locator"):
        if given.get(name) is not None:
            raise RecipeError(
                f"{name} is a {type(given[name]).__name__}, but Flare reads and writes checkpoints itself; leave it"
                " out, and give the model to start from as model or initial_ckpt"
            )
    aggregator = given.get("aggregator")
    if aggregator is not None and not isinstance(aggregator, Aggregator):
        if not hasattr(aggregator, "accept_model"):
            raise RecipeError(
                f"aggregator is a {type(aggregator).__name__}; give a ModelAggregator, with the methods accept_model,"
                " aggregate_model and reset_stats"
            )
        as_tensors = given.get("server_expected_format") == "pytorch"
        aggregator = ForeignAggregator(aggregator, as_tensors)
    more = {"aggregator": aggregator, "clients_per_round": given["min_clients"]} | more
    return native_job(recipe, given, outputs, **more)


def job_of_sites(
    make: Callable[[Mapping[str, Any] | None], Recipe], config: Mapping[str, Any] | None, outputs: Outputs
) -> FedJob:
    """Return the job of a recipe that needs settings of sites, which may be given later.

    Args:
        make: returns the recipe, given the settings.
        config: the settings, unless they are given by ``set_per_site_config``.
        outputs: where the results are to be found.
    """

    def remade(config: Mapping[str, Any] | None) -> FedJob:
        job = FedJob.of(make(config), outputs)
        job.remade = remade
        return job

    if config is not None:
        return remade(config)
    job = FedJob()
    job.remade = remade
    return job


def warn_of_gpus(use_gpus: bool) -> None:
    """Log a warning if GPUs are asked for where Flare computes on CPUs."""
    if use_gpus:
        logger.warning("use_gpus is True, but Flare grows trees on CPUs; the model is the same")


def per_site(config: Any) -> dict[str, dict[str, Any]] | None:
    """Return settings of sites, without those that Flare has no counterpart for.

    Raises:
        RecipeError: they are not a dict of dicts.
    """
    if config is None:
        return None
    if not isinstance(config, Mapping) or not all(isinstance(each, Mapping) for each in config.values()):
        raise RecipeError(f"per_site_config is {config!r}; give a dict of dicts by site name")
    return {
        site: {name: value for name, value in values.items() if name in _PER_SITE} for site, values in config.items()
    }


def add_parts(job: Job, parties: Mapping[str, Parts]) -> None:
    """Add parts to a job of Flare's.

    Raises:
        FlareError: a part cannot be added to the job of a recipe; says what to do instead.
    """
    for party, parts in parties.items():
        form = AppForm()
        add_files(parts, form)
        for app in _apps(job, party):
            _add_to_app(app, parts)
            if isinstance(app, ClientApp) and (app.code is not None or party != ALL_SITES) and form.files:
                code = app.code or job.code
                app.code = replace(code, extra=code.extra | form.files)
        if party in (SERVER, ALL_SITES) and form.files:
            job.code = replace(job.code, extra=job.code.extra | form.files)
            if party == SERVER:
                names = [str(PurePosixPath(place)) for place in form.files]
                job.meta["server_files"] = [*job.meta.get("server_files", ()), *names]


def _apps(job: Job, party: str) -> list[ServerApp | ClientApp]:
    if party == SERVER:
        return [job.server]
    if party == ALL_SITES:
        return [job.client, *job.sites.values()]
    if party not in job.sites:
        job.sites[party] = copy_of(job.client)
    return [job.sites[party]]


def _add_to_app(app: ServerApp | ClientApp, parts: Parts) -> None:
    app.config.update(parts.settings)
    for chain in ("task_data_filters", "task_result_filters"):
        for tasks, each in getattr(parts, chain):
            getattr(app, chain).append(FilterEntry(tuple(tasks), (Component.of(each, what="a filter"),)))
    for name, component in parts.components.items():
        if isinstance(component, Observer | Service):
            app.components[name] = Component.of(component, what=f"the component {name!r}")
    foreign = [each for each in parts.components.values() if not isinstance(each, Observer | Service)]
    if others := [*parts.workflows.values(), *(each for _, each in parts.executors), *foreign]:
        other = others[0]
        raise RecipeError(
            f"a {type(other).__name__} cannot be added to the job of a recipe; make a FedJob with it and the"
            " recipe's parts, or write a workflow as in Flare's guide to extensions"
        )

"""FedJobs whose parts grow trees, which become recipes of flare_xgb."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import replace
from typing import Any

from flare_core import Observer, Recipe, RecipeError, Service
from flare_core.job import ALL_SITES, SERVER
from nvflare._flare.column_loader import COLUMNS, ColumnLoader
from nvflare._flare.layout import Outputs
from nvflare._flare.parts import Parts
from nvflare.apis.executor import Executor
from nvflare.apis.fl_component import FLComponent
from nvflare.apis.impl.controller import Controller

_REFUSAL = "runs in a FedJob alone, as a recipe of flare_xgb; use nvflare.app_opt.xgboost.recipes"


class TreePart(FLComponent):
    """A part of a job that grows trees."""


class TreeController(Controller):
    """A workflow that grows trees."""

    def start_controller(self, fl_ctx: Any) -> None:
        """Do nothing."""

    def control_flow(self, abort_signal: Any, fl_ctx: Any) -> None:
        """Refuse to run, as the workflow is one of flare_xgb's.

        Raises:
            RecipeError: always.
        """
        raise RecipeError(f"{type(self).__name__} {_REFUSAL}")

    def stop_controller(self, fl_ctx: Any) -> None:
        """Do nothing."""


class TreeExecutor(Executor):
    """An executor that grows trees."""

    data_loader_id: str

    def execute(self, task_name: str, shareable: Any, fl_ctx: Any, abort_signal: Any) -> Any:
        """Refuse to run, as the executor is one of flare_xgb's.

        Raises:
            RecipeError: always.
        """
        raise RecipeError(f"{type(self).__name__} {_REFUSAL}")


def grows_trees(parties: Mapping[str, Parts]) -> bool:
    """Return True if a site of a job has an executor that grows trees."""
    return any(isinstance(each, TreeExecutor) for parts in parties.values() for _, each in parts.executors)


def tree_recipe(name: str, min_clients: int, parties: Mapping[str, Parts]) -> tuple[Recipe, Outputs]:
    """Return the recipe that does what a job's parts say, and where its results are to be found.

    Args:
        name: of the job.
        min_clients: the number of sites that it needs.
        parties: its parts.
    Raises:
        RecipeError: a part is missing.
    """
    import flare_xgb

    executors = _executors(parties, min_clients)
    if len(parties[SERVER].workflows) != 1:
        raise RecipeError("a job that grows trees has one workflow; add one controller with job.to_server(...)")
    workflow = next(iter(parties[SERVER].workflows.values()))
    loaders = {site: _loader(parts, executor) for site, (parts, executor) in executors.items()}
    first = next(iter(executors.values()))[1]
    common: dict[str, Any] = {
        "name": name,
        "min_clients": min_clients if ALL_SITES in parties else len(loaders),
        "num_rounds": workflow.num_rounds,
    }
    if not isinstance(workflow, TreeController):
        is_scaled = first.training_mode == "bagging" and first.lr_mode == "scaled"
        named = [each.save_name for each in parties[SERVER].components.values() if hasattr(each, "save_name")]
        recipe = flare_xgb.XGBBaggingRecipe(
            **common,
            mode=first.training_mode,
            lr_mode="scaled" if is_scaled else "uniform",
            save_name=named[0] if named else "xgboost_model.json",
            xgb_params=first.xgb_params,
            per_site_config={
                site: {"data_loader": loaders[site]} | ({"lr_scale": executor.lr_scale} if is_scaled else {})
                for site, (_, executor) in executors.items()
            },
        )
        return recipe, Outputs()
    control: Any = workflow
    common["xgb_params"] = control.xgb_params
    if "early_stopping_rounds" in control.xgb_options:
        common["early_stopping_rounds"] = control.xgb_options["early_stopping_rounds"]
    if control.data_split_mode == COLUMNS:
        ranks = control.client_ranks or {site: number for number, site in enumerate(sorted(loaders))}
        owner = min(ranks, key=lambda site: ranks[site])
        columns = {site: {"data_loader": ColumnLoader(each, site == owner)} for site, each in loaders.items()}
        secure = "masked" if control.secure_training else "plain"
        vertical = flare_xgb.XGBVerticalRecipe(
            **common,
            label_owner=owner,
            secure=secure,
            model_file_name=first.model_file_name,
            per_site_config=columns,
        )
        return vertical, Outputs()
    rows = {site: {"data_loader": each} for site, each in loaders.items()}
    horizontal = flare_xgb.XGBHorizontalRecipe(**common, secure=control.secure_training, per_site_config=rows)
    return horizontal, Outputs(at_sites=("model.json",))


def other_parts(parties: Mapping[str, Parts]) -> dict[str, Parts]:
    """Return the parts that the recipe does not stand for: trackers, filters, settings and files."""
    return {
        party: replace(
            parts,
            workflows={},
            executors=[],
            components={name: each for name, each in parts.components.items() if isinstance(each, Observer | Service)},
        )
        for party, parts in parties.items()
    }


def _executors(parties: Mapping[str, Parts], min_clients: int) -> dict[str, tuple[Parts, Any]]:
    """Return the parts and the executor of each site."""
    found = {}
    for party, parts in parties.items():
        for _, executor in parts.executors:
            if not isinstance(executor, TreeExecutor):
                raise RecipeError(f"a {type(executor).__name__} cannot be in a job with parts that grow trees")
            sites = [party] if party != ALL_SITES else [f"site-{number + 1}" for number in range(min_clients)]
            found.update({site: (parts, executor) for site in sites})
    return found


def _loader(parts: Parts, executor: TreeExecutor) -> Any:
    try:
        return copy(parts.components[executor.data_loader_id])
    except KeyError:
        raise RecipeError(
            f"there is no component {executor.data_loader_id!r} to read the rows; add it with"
            f" job.to(loader, <site>, id={executor.data_loader_id!r})"
        ) from None

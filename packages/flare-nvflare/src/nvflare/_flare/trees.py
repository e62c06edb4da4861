"""Jobs whose parts grow trees, which become recipes of flare_xgb."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy
from typing import Any

from flare_core import Recipe, RecipeError
from flare_core.components import Component
from flare_core.job import ALL_SITES, SERVER
from nvflare._flare.column_loader import COLUMNS
from nvflare._flare.layout import Outputs
from nvflare._flare.parts import Parts
from nvflare._flare.recipe_parts import (
    RecipeController,
    RecipeExecutor,
    RecipePart,
    component_of,
    executors_of,
    named_sites,
    workflow_of,
)

_COLUMNS = "nvflare._flare.column_loader.ColumnLoader"

Executors = Mapping[str, tuple[Any, Any]]
"""For each site, or ``@ALL``, its executor and its loader."""


class TreePart(RecipePart):
    """A part of a job that grows trees."""


class TreeController(RecipeController):
    """A workflow that grows trees."""

    num_rounds: int


class TreeExecutor(RecipeExecutor):
    """An executor that grows trees."""

    data_loader_id: str

    @classmethod
    def recipe(cls, name: str, min_clients: int, parties: Mapping[str, Parts]) -> tuple[Recipe, Outputs]:
        executors = {
            party: (each, copy(component_of(party, parts, each.data_loader_id, "to read the rows")))
            for party, parts, each in executors_of(parties, TreeExecutor)
        }
        workflow = workflow_of(parties)
        count = min_clients if ALL_SITES in executors else len(executors)
        common = {"name": name, "min_clients": count, "num_rounds": workflow.num_rounds}
        if not isinstance(workflow, TreeController):
            return _bagging(common, executors, parties[SERVER])
        control: Any = workflow
        common["xgb_params"] = control.xgb_params
        if "early_stopping_rounds" in control.xgb_options:
            common["early_stopping_rounds"] = control.xgb_options["early_stopping_rounds"]
        return (
            _vertical(common, executors, control)
            if control.data_split_mode == COLUMNS
            else _rows(common, executors, control)
        )


def _bagging(common: dict[str, Any], executors: Executors, server: Parts) -> tuple[Recipe, Outputs]:
    import flare_xgb

    first = _same(executors, ("training_mode", "lr_mode", "xgb_params"))
    is_scaled = first.training_mode == "bagging" and first.lr_mode == "scaled"
    saved = [each.save_name for each in server.components.values() if hasattr(each, "save_name")]
    scales = {
        site: {"lr_scale": executor.lr_scale}
        for party, (executor, _) in executors.items()
        for site in (named_sites(party, common["min_clients"]) if is_scaled else ())
    }
    recipe = flare_xgb.XGBBaggingRecipe(
        **common,
        mode=first.training_mode,
        lr_mode="scaled" if is_scaled else "uniform",
        save_name=saved[0] if saved else "xgboost_model.json",
        xgb_params=first.xgb_params,
        **_loaders(executors, scales),
    )
    return recipe, Outputs()


def _same(executors: Executors, names: Iterable[str]) -> Any:
    """Return the first executor, which has the same settings as all others.

    Raises:
        RecipeError: one has other settings.
    """
    (first, (expected, _)), *others = executors.items()
    for site, (executor, _) in others:
        for name in names:
            if (given := getattr(executor, name)) != (wanted := getattr(expected, name)):
                raise RecipeError(f"{site}: {name} is {given!r}, but that of {first} is {wanted!r}; make them the same")
    return expected


def _rows(common: dict[str, Any], executors: Executors, control: Any) -> tuple[Recipe, Outputs]:
    import flare_xgb

    recipe = flare_xgb.XGBHorizontalRecipe(**common, secure=control.secure_training, **_loaders(executors, {}))
    return recipe, Outputs(at_sites=("model.json",))


def _vertical(common: dict[str, Any], executors: Executors, control: Any) -> tuple[Recipe, Outputs]:
    import flare_xgb

    ranks = control.client_ranks or {}
    loaders = {
        site: loader
        for party, (_, loader) in executors.items()
        for site in (ranks or named_sites(party, common["min_clients"]) if party == ALL_SITES else [party])
    }
    ranks = ranks or {site: number for number, site in enumerate(sorted(loaders))}
    if missing := sorted(set(loaders) - set(ranks)):
        raise RecipeError(
            f"client_ranks has no rank for {missing[0]}; give each site one, from 0 for the labels' owner"
        )
    owner = min(loaders, key=lambda site: int(ranks[site]))
    recipe = flare_xgb.XGBVerticalRecipe(
        **common,
        label_owner=owner,
        secure="masked" if control.secure_training else "plain",
        model_file_name=_same(executors, ("model_file_name",)).model_file_name,
        per_site_config={
            site: {"data_loader": Component(_COLUMNS, {"loader": _component(each), "has_labels": site == owner})}
            for site, each in loaders.items()
        },
    )
    return recipe, Outputs()


def _component(loader: Any) -> Component:
    return Component.of(loader, what="a data loader")


def _loaders(executors: Executors, settings: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the recipe's arguments for the loaders of the sites, with other settings of theirs."""
    found: dict[str, dict[str, Any]] = {site: dict(each) for site, each in settings.items()}
    given: dict[str, Any] = {}
    for party, (_, loader) in executors.items():
        if party == ALL_SITES:
            given["data_loader"] = loader
        else:
            found.setdefault(party, {})["data_loader"] = loader
    return given | ({"per_site_config": found} if found else {})

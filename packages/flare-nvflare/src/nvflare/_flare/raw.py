"""Federated averaging of whatever scripts send: the params of one round need not have the names of the last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

import flare_recipes_np
from flare_core import Aggregator, FLModel, RecipeError, TrainingFederation, WeightedMean
from flare_core.components import Component
from flare_core.workflows import FedAvg
from nvflare._flare.params import REST, split


class RawFedAvg(FedAvg):
    """Federated averaging whose sites also receive settings, and whose global model is what came of a round.

    Args:
        start: the settings, by name, which scripts find among the params of each round: numbers, text, lists.
        aggregator: combines the contributions of a round; by default the weighted mean under each name.
        aggregation_weights, exclude_vars, arguments: those of :class:`flare_core.workflows.FedAvg`.
    """

    def __init__(
        self,
        *,
        start: Mapping[str, Any],
        aggregator: Aggregator | None = None,
        aggregation_weights: Mapping[str, float] | None = None,
        exclude_vars: Any = None,
        **arguments: Any,
    ) -> None:
        mean = aggregator or RawMean(site_weights=aggregation_weights, exclude=exclude_vars)
        super().__init__(aggregator=mean, **arguments)
        self.start = dict(start)

    def _outgoing(self, model: FLModel, fed: TrainingFederation) -> FLModel:
        return replace(model, params=model.params or {}, meta={**model.meta, REST: self.start})


class RawMean(WeightedMean):
    """A weighted mean that replaces the global model, whatever its names were."""

    def update(self, model: FLModel) -> FLModel:
        return replace(model, params=self.result().params, params_type=None)


@dataclass(kw_only=True, eq=False, repr=False)
class RawFedAvgRecipe(flare_recipes_np.FedAvgRecipe):
    """Federated averaging of whatever scripts send.

    Args:
        start: the settings that scripts receive; arrays among them are the first global model.
    """

    start: Mapping[str, Any] = field(default_factory=dict)

    def _check(self) -> None:
        self.initial_model, self._settings = split(dict(self.start))
        super()._check()

    def _workflow(self) -> Component:
        return Component("nvflare._flare.raw.RawFedAvg", {**self._workflow_args(), "start": self._settings})


def start(settings: Mapping[str, Any] | None, path: str | None) -> dict[str, Any]:
    """Return the settings that scripts receive, from a file of joblib's if there is one.

    Raises:
        RecipeError: the file does not exist, or holds no dict.
    """
    if path is None:
        return dict(settings or {})
    if not Path(path).is_absolute() or not Path(path).is_file():
        raise RecipeError(f"model_path is {path!r}, which is no file; give an absolute path to one that exists here")
    import joblib  # comes with scikit-learn

    content = joblib.load(path)
    if not isinstance(content, Mapping):
        raise RecipeError(f"model_path {path} holds a {type(content).__name__}; save a dict of arrays and settings")
    return {name: np.asarray(value) if isinstance(value, np.generic) else value for name, value in content.items()}

"""Learning: what is trained, by the parameters alone; the same at the server and at every site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from flare_xgb.engine.train import loss_of, metrics_of, tree_params
from flare_xgb.params import parse

_BY_NAME = ("monotone_constraints", "interaction_constraints")  # may name features


class Learning:
    """The parameters, with the objective and the metrics that they name.

    Args:
        given: parameters by XGBoost's names.
        features: names of the features, which constraints may use, or their number.
    Attributes:
        params: all parameters.
        tree: those of one tree's growth.
        objective: the objective.
        metrics: the metrics.
        trees_per_round: how many trees a round adds.
    Raises:
        FlareError: a parameter is unusable; names it.
    """

    def __init__(self, given: Mapping[str, Any], features: Sequence[str] | int | None = None) -> None:
        self.params = parse(given, features)
        self.tree = tree_params(self.params)
        self.objective = loss_of(self.params)
        self.metrics = metrics_of(self.params, self.objective)
        self.trees_per_round = self.objective.outputs * self.params.num_parallel_tree

    @classmethod
    def of_unnamed(cls, given: Mapping[str, Any]) -> Self:
        """Return what is trained as far as it can be told before the features are known.

        Raises:
            FlareError: as the constructor, but for constraints.
        """
        return cls({name: value for name, value in given.items() if name not in _BY_NAME})

    def output_of(self, tree: int) -> int:
        """Return to which output a tree adds: in a round, all trees of the first come first."""
        return tree % self.trees_per_round // self.params.num_parallel_tree

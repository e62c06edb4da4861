"""Learning: the training that parameters describe, the same at the server and at every site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flare_xgb.engine.train import loss_of, metrics_of, tree_params
from flare_xgb.params import parse


class Learning:
    """Parameters, and what follows from them alone.

    Args:
        given: parameters by XGBoost's names.
        features: names of the features of all sites, or their number.
    Attributes:
        params: all parameters.
        tree: those of one tree's growth.
        metrics: the metrics.
        trees_per_round: how many trees a round adds.
    Raises:
        FlareError: a parameter is unusable; names it.
    """

    def __init__(self, given: Mapping[str, Any], features: Sequence[str] | int) -> None:
        self.params = parse(given, features)
        self.tree = tree_params(self.params)
        loss = loss_of(self.params)
        self.metrics = metrics_of(self.params, loss)
        self.trees_per_round = loss.outputs * self.params.num_parallel_tree

    def output_of(self, tree: int) -> int:
        """Return to which output a tree adds: in a round, all trees of the first come first."""
        return tree % self.trees_per_round // self.params.num_parallel_tree

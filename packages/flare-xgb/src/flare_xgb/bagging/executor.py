"""The executor of a site that grows whole trees."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flare_core import Executor, SiteContext, Task
from flare_xgb.bagging.site import SiteForest
from flare_xgb.data import Schema, Table, load
from flare_xgb.data.sameness import check_same
from flare_xgb.engine.train import loss_of
from flare_xgb.engine.tree import Tree
from flare_xgb.horizontal.keys import count_keys, keys_of
from flare_xgb.objectives.quantiles import in_units
from flare_xgb.params import parse


class TreeExecutor(Executor):
    """Describes the rows of its site, grows trees from them, and measures models with them.

    Args:
        data_loader: reads the rows.
        xgb_params: XGBoost's parameters, by its names.
    """

    def __init__(self, data_loader: Any, xgb_params: Mapping[str, Any]) -> None:
        self.data_loader = data_loader
        self.xgb_params = dict(xgb_params)
        self._tables: tuple[Table, Table | None] | None = None
        self._forest: SiteForest | None = None

    def execute(self, task: Task, context: SiteContext) -> Any:
        train, validation = self._load(task, context)
        if task.name == "describe":
            return self._described(train, validation)
        if task.name == "count":
            return {"counts": _label_counts(train, **task.data)}
        forest = self._caught_up(task.data, context, train, validation)
        if forest is None:
            return {"is_behind": True}
        if task.name == "measure":
            return {"sums": forest.metric_sums()}
        trees, outputs = forest.grow(task.data["seed"])
        return {"trees": [tree.to_plain() for tree in trees], "outputs": outputs, "weight": forest.weight}

    def _load(self, task: Task, context: SiteContext) -> tuple[Table, Table | None]:
        if self._tables is None:
            self._tables = load(self.data_loader, context.party, task.data["rank"])
            check_same(self._tables[0], context.folder, context.party)
        return self._tables

    def _described(self, train: Table, validation: Table | None) -> dict[str, Any]:
        loss = loss_of(parse(self.xgb_params, train.names or train.num_features))
        weight = train.row_weight
        described: dict[str, Any] = {
            "schema": Schema.of(train, validation).to_dict(),
            "largest_weight": math.nan if weight is None else float(weight.max(initial=0)),
        }
        if len(train):
            loss.check(train)
            described["sums"] = loss.base_sums(train)
        return described

    def _caught_up(
        self, data: Mapping[str, Any], context: SiteContext, train: Table, validation: Table | None
    ) -> SiteForest | None:
        """Return the site's state after the rounds that the task brings; None if earlier ones are missing."""
        if (common := data["common"]) is not None:
            schema, base = Schema.from_dict(common["schema"]), np.asarray(common["base"], np.float32)
            self._forest = SiteForest(train, validation, self.xgb_params, schema, common["sums"], base, context.party)
            self._tables = self._forest.tables  # the only copy from here on
        forest = self._forest
        if forest is None or forest.rounds < data["since"]:
            return None
        for round_ in data["rounds"][forest.rounds - data["since"] :]:
            forest.add([Tree.from_plain(each) for each in round_["trees"]], round_["outputs"])
        return forest


def _label_counts(table: Table, question: Mapping[str, Any], unit: float | None, rank: int) -> NDArray[np.int64]:
    """Count the labels as a refinement asks for them; see :mod:`flare_xgb.horizontal.refinement`."""
    assert table.label is not None  # checked by the objective
    counts = np.zeros((len(question["prefixes"]), 1 << question["bits"]), np.int64)
    weights = np.ones(1, np.int64)
    if unit is not None and table.row_weight is not None:
        weights = in_units(table.row_weight, unit)
    count_keys(keys_of(table.label), np.zeros(len(table), np.int32), weights, dict(question), counts)
    return counts

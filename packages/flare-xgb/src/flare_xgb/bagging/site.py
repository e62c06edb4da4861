"""SiteForest: a site's half of bagging, which grows whole trees from its own rows and knows nothing of other sites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flare_xgb.data import DataError, Schema, Table, conform
from flare_xgb.engine.binned import BinnedMatrix
from flare_xgb.engine.cuts import Cuts
from flare_xgb.engine.fixed_point import FixedPoint
from flare_xgb.engine.predict import Forest
from flare_xgb.engine.sampling import ColumnSampler, sample_rows
from flare_xgb.engine.threads import Threads
from flare_xgb.engine.train import cuts_of, grow_tree, loss_of, metrics_of, tree_params, with_quantiles
from flare_xgb.engine.tree import Tree
from flare_xgb.objectives import Bounds
from flare_xgb.objectives.quantiles import quantiles_by_group
from flare_xgb.objectives.sums import Sums
from flare_xgb.params import parse

Floats = NDArray[np.float32]


class SiteForest:
    """The rows of a site, and the margins that the trees of all sites give them.

    Args:
        table: the rows to train on.
        validation: those to validate with.
        parameters: XGBoost's, by its names.
        schema: what the sites agreed on.
        sums: the objective's, over the rows of all sites.
        base: the margin before the first tree, (outputs,).
        site: the name of the site, for messages.
    Attributes:
        rounds: how many rounds of the model the margins include.
    """

    def __init__(
        self,
        table: Table,
        validation: Table | None,
        parameters: Mapping[str, Any],
        schema: Schema,
        sums: Sums,
        base: Floats,
        site: str,
    ) -> None:
        self._site = site
        self._params = parse(parameters, schema.names or schema.width)
        self._loss = loss_of(self._params).agreed(sums)
        self._metrics = metrics_of(self._params, self._loss)
        self._threads = Threads(self._params.nthread)
        self._table = conform(table, schema, site=site)
        self._validation = None if validation is None else conform(validation, schema, site=site)
        for each in (self._table, self._validation):
            if each is not None and len(each):
                self._loss.check(each)
        self._margins = self._first_margins(self._table, base)
        self._validation_margins = None if self._validation is None else self._first_margins(self._validation, base)
        self._binned: tuple[Cuts, BinnedMatrix] | None = None
        self.rounds = 0

    @property
    def tables(self) -> tuple[Table, Table | None]:
        """The rows to train on and to validate with, in the form that the sites agreed on."""
        return self._table, self._validation

    @property
    def weight(self) -> float:
        """The sum of the weights of the rows."""
        weight = self._table.row_weight
        return float(len(self._table)) if weight is None else float(weight.sum(dtype=np.float64))

    def _first_margins(self, table: Table, base: Floats) -> Floats:
        shape = (len(table), self._loss.outputs)
        if table.base_margin is None:
            return np.array(np.broadcast_to(base, shape))
        if table.base_margin.size != shape[0] * shape[1]:
            raise DataError(
                f"{self._site}: base_margin has shape {table.base_margin.shape}, but {self._loss.name} has {shape[1]}"
                " outputs; give one margin for each"
            )
        return table.base_margin.reshape(shape).copy()

    def add(self, trees: Sequence[Tree], outputs: Sequence[int]) -> None:
        """Add the trees of one round to the margins."""
        forest = Forest(trees, outputs)
        forest.add_margins(self._table.features, self._margins, self._threads)
        if self._validation is not None and self._validation_margins is not None:
            forest.add_margins(self._validation.features, self._validation_margins, self._threads)
        self.rounds += 1

    def grow(self, seed: int) -> tuple[list[Tree], list[int]]:
        """Grow the trees of a round from these rows, without adding them to the margins.

        Args:
            seed: 32 bits that differ between sites and rounds, for the draws of rows and columns.
        Returns:
            the trees, and the output that each is of; nothing if there are no rows.
        """
        if not len(self._table):
            return [], []
        gradients, hessians = self._loss.gradients(self._margins, self._table, self.rounds)
        count = self._params.num_parallel_tree
        outputs = [output for output in range(self._loss.outputs) for _ in range(count)]
        seeds = np.random.SeedSequence(seed).generate_state(2 * len(outputs)).reshape(-1, 2).tolist()
        trees = [
            self._tree(output, gradients[:, output], hessians[:, output], rows, columns)
            for output, (rows, columns) in zip(outputs, seeds, strict=True)
        ]
        return trees, outputs

    def _tree(self, output: int, gradient: Floats, hessian: Floats, row_seed: int, column_seed: int) -> Tree:
        if self._binned is None:
            cuts = cuts_of(self._table, self._params.tree.max_bin)
            self._binned = cuts, BinnedMatrix.of(cuts, self._table.features)
        cuts, binned = self._binned
        params = tree_params(self._params)
        if params.subsample < 1:
            used = sample_rows(row_seed, len(gradient), params.subsample)
            gradient, hessian = np.where(used, gradient, np.float32(0)), np.where(used, hessian, np.float32(0))
        bounds = Bounds.measured((gradient, hessian))
        scale = FixedPoint.fit(bounds.gradient, bounds.hessian, len(gradient))
        columns = ColumnSampler(params, cuts.features, column_seed)
        tree, partition = grow_tree(params, cuts, binned, gradient, hessian, scale, columns, self._threads)
        if not self._loss.leaf_quantiles:
            return tree
        leaves = np.where(hessian == 0, -1, partition.leaf_of_rows())
        assert self._table.label is not None  # checked by the objective
        residuals = self._table.label - self._margins[:, output]
        alpha = self._loss.leaf_quantiles[output]
        found = quantiles_by_group(residuals, leaves, tree.nodes, alpha, self._table.row_weight)
        return with_quantiles(tree, found, params.learning_rate)

    def metric_sums(self) -> dict[str, Sums]:
        """Return the sums of each metric over the rows to train on and to validate with, by ``train-auc`` and so on."""
        sums: dict[str, Sums] = {}
        # Those to validate with come first, as the more telling ones where there is room for one.
        parts = (("validation", self._validation, self._validation_margins), ("train", self._table, self._margins))
        for part, table, margins in parts:
            if table is None or margins is None or not len(table):
                continue
            predictions = self._loss.transform_for_metrics(margins)
            for metric in self._metrics:
                sums[f"{part}-{metric.name}"] = metric.sums(predictions, table)
        return sums

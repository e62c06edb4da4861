"""Training on one table: the loop over the parts that a federation runs in several places."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from flare_core import FlareError, ModelError
from flare_xgb.data import Table
from flare_xgb.engine.binned import BinnedMatrix
from flare_xgb.engine.cuts import Cuts
from flare_xgb.engine.fixed_point import FixedPoint
from flare_xgb.engine.grower import TreeGrower
from flare_xgb.engine.histogram import histograms
from flare_xgb.engine.model import Model
from flare_xgb.engine.predict import Forest
from flare_xgb.engine.rows import RowPartition
from flare_xgb.engine.sampling import ColumnSampler, Draws, sample_rows
from flare_xgb.engine.threads import Threads
from flare_xgb.engine.tree import Tree
from flare_xgb.metrics import Metric, metric
from flare_xgb.objectives import Bounds, Custom, Objective, Rows, objective
from flare_xgb.objectives.quantiles import quantiles_by_group
from flare_xgb.objectives.sums import Sums
from flare_xgb.params import ObjectiveParams, Params, TreeParams, parse

Gradients = Callable[[npt.NDArray[np.float32], Rows], tuple[Any, Any]]
"""A loss of one's own; see ``objectives.Custom``."""

History = dict[str, dict[str, list[float]]]
"""The values of each metric after each round, by the name of the table and of the metric."""


def grow_tree(
    params: TreeParams,
    cuts: Cuts,
    binned: BinnedMatrix,
    gradients: npt.NDArray[np.float32],
    hessians: npt.NDArray[np.float32],
    scale: FixedPoint,
    columns: ColumnSampler | None = None,
    threads: Threads | None = None,
) -> tuple[Tree, RowPartition]:
    """Grow one tree; return it and the rows of its leaves.

    Args:
        params: how the tree grows.
        cuts: the bins.
        binned: the rows by these bins.
        gradients: float32 [rows]; 0 where a row is not used.
        hessians: float32 [rows]; 0 where a row is not used.
        scale: the integers for them.
        columns: draws columns.
        threads: shares the work.
    """
    threads = threads or Threads()
    pairs = scale.encode(gradients, hessians)
    partition = RowPartition(binned.rows, threads)
    root_sum = np.array([pairs[:, 0].sum(), pairs[:, 1].sum()])  # faster than along an axis
    grower = TreeGrower(params, cuts, root_sum, scale, columns, threads)
    while not grower.done:
        wanted = grower.wanted()
        found = histograms(binned, pairs, [partition.rows_of(node) for node in wanted], threads)
        partition.apply(grower.grow(dict(zip(wanted, found, strict=True))), binned)
    return grower.tree(), partition


def loss_of(params: Params) -> Objective:
    """Return the objective that parameters name.

    Raises:
        FlareError: there is none of that name, it needs a parameter, or one does not fit it.
    """
    found = objective(params.objective, _given(params.loss))
    if params.loss.num_class > 1 and params.loss.num_class != found.outputs:
        raise FlareError(
            f"num_class is {params.loss.num_class}, but {params.objective} has no classes; use multi:softprob, or leave"
            " num_class out"
        )
    if params.base_score is not None and len(params.base_score) not in (1, found.outputs):
        each = f", or {found.outputs}, one for each output" if found.outputs > 1 else ""
        raise FlareError(f"base_score has {len(params.base_score)} values; give one{each}")
    return found


def metrics_of(params: Params, loss: Objective) -> list[Metric]:
    """Return the metrics that parameters name, or else the objective's own.

    Raises:
        FlareError: there is none of that name.
    """
    names = params.eval_metric or (() if params.disable_default_eval_metric else (loss.default_metric,))
    shared = {**_given(params.loss), **loss.metric_parameters()}
    return [metric(name, shared) for name in names]


def _given(params: ObjectiveParams) -> dict[str, Any]:
    return {name: value for name, value in asdict(params).items() if value is not None and value != ()}


def tree_params(params: Params) -> TreeParams:
    """Return how each of the round's parallel trees grows: together they learn as much as one."""
    rate = np.float32(params.tree.learning_rate) / np.float32(params.num_parallel_tree)
    return replace(params.tree, learning_rate=float(rate))


class Trainer:
    """Adds rounds of trees to a model.

    Args:
        params: all parameters, or a dict of XGBoost's.
        table: the rows.
        model: the model to begin with; none: one without trees.
        cuts: the bins; none: made from the table.
        gradients: a loss of one's own; ``params.objective`` then says only how margins become predictions.
        threads: shares the work; none: ``params.nthread``.
    Raises:
        FlareError: parameters, table and model do not fit each other.
    """

    def __init__(
        self,
        params: Params | Mapping[str, Any],
        table: Table,
        *,
        model: Model | None = None,
        cuts: Cuts | None = None,
        gradients: Gradients | None = None,
        threads: Threads | None = None,
    ) -> None:
        if not isinstance(params, Params):
            params = parse(params, table.names or table.num_features)
        if not len(table):
            raise ModelError("the table has no rows to train on")
        self.params, self.table = params, table
        self.threads = threads or Threads(params.nthread)
        loss = loss_of(params) if gradients is None else Custom(gradients, loss_of(params))
        loss.check(table)
        sums = loss.base_sums(table)
        self.loss = loss.agreed(sums)
        self._tree_params = tree_params(params)
        self.cuts = cuts or cuts_of(table, params.tree.max_bin, self.threads)
        self.binned = BinnedMatrix.of(self.cuts, table.features, self.threads)
        self._draws = Draws(params.seed)
        self._columns: ColumnSampler | None = None
        self._done = 0
        self.model = self._first_model(sums) if model is None else model
        if self.model.loss["name"] != self.loss.name or self.model.num_outputs != self.loss.outputs:
            raise ModelError(f"the model's objective is {self.model.loss['name']}, the parameters' {self.loss.name}")
        self.margins = self.model.predict_margins(table.features, table.base_margin, self.threads)

    def _first_model(self, sums: Sums) -> Model:
        params, table = self.params, self.table
        if params.base_score is None:
            score = self.loss.base_score(sums, _label_quantiles(self.loss, table))
        else:
            score = np.array(params.base_score, np.float32)
        return Model(
            loss=self.loss.config(),
            base_score=np.tile(score, self.loss.outputs) if len(score) == 1 else np.asarray(score, np.float32),
            features=table.num_features,
            num_class=params.loss.num_class,
            num_parallel_tree=params.num_parallel_tree,
            names=table.names,
            types=table.types,
        )

    def round(self) -> list[Tree]:
        """Grow the trees of one more round, add them to ``model`` and ``margins``, and return them."""
        if self.params.seed_per_iteration:
            self._draws = Draws(self.params.seed * 127 + self._done)
        if self._columns is None:
            self._columns = ColumnSampler(self.params.tree, self.cuts.features, self._draws.next())
        gradients, hessians = self.loss.gradients(self.margins, self.table, self._done)
        bounds = self.loss.bounds(self.table) or Bounds.measured((gradients, hessians))
        scale = FixedPoint.fit(bounds.gradient, bounds.hessian, len(self.table))
        before = self.margins.copy() if self.params.num_parallel_tree > 1 else self.margins
        trees, outputs = [], []
        for output in range(self.loss.outputs):
            for _ in range(self.params.num_parallel_tree):
                gradient, hessian = self._sampled(gradients[:, output], hessians[:, output])
                tree, partition = grow_tree(
                    self._tree_params, self.cuts, self.binned, gradient, hessian, scale, self._columns, self.threads
                )
                if self.loss.leaf_quantiles:
                    tree = self._adapted(tree, partition, before[:, output], hessian, output)
                partition.add_values(tree.values, self.margins[:, output])
                trees.append(tree)
                outputs.append(output)
        self.model = self.model.with_round(trees, outputs)
        self._done += 1
        return trees

    def continue_from(self, model: Model) -> None:
        """Go on with another model, such as one that others have added trees to."""
        self.model = model
        self.margins = model.predict_margins(self.table.features, self.table.base_margin, self.threads)

    def _sampled(
        self, gradient: npt.NDArray[np.float32], hessian: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        share, rows = np.float32(self.params.tree.subsample), len(gradient)
        if int(share * np.float32(rows)) >= rows:
            return gradient, hessian
        used = sample_rows(self._draws.next(), rows, float(share))
        return np.where(used, gradient, np.float32(0)), np.where(used, hessian, np.float32(0))

    def _adapted(
        self,
        tree: Tree,
        partition: RowPartition,
        margins: npt.NDArray[np.float32],
        hessian: npt.NDArray[np.float32],
        output: int,
    ) -> Tree:
        assert self.table.label is not None  # checked by the objective
        groups = np.where(hessian == 0, -1, partition.leaf_of_rows())
        found = quantiles_by_group(
            self.table.label - margins, groups, tree.nodes, self.loss.leaf_quantiles[output], self.table.weight
        )
        return with_quantiles(tree, found, self._tree_params.learning_rate)


def with_quantiles(tree: Tree, quantiles: npt.NDArray[np.float32], learning_rate: float) -> Tree:
    """Return a tree whose leaves are quantiles times the learning rate.

    A leaf without a quantile keeps its value, times the learning rate once more: so does XGBoost.

    Args:
        tree: the tree.
        quantiles: float32 [nodes]; NaN where no row counts.
        learning_rate: the learning rate of the tree.
    """
    values = np.where(np.isnan(quantiles), tree.values, quantiles) * np.float32(learning_rate)
    return tree.with_leaves({int(node): float(values[node]) for node in np.flatnonzero(tree.is_leaf)})


def _label_quantiles(loss: Objective, table: Table) -> npt.NDArray[np.float32] | None:
    if not loss.label_quantiles:
        return None
    assert table.label is not None  # checked by the objective
    whole = np.zeros(len(table), np.int64)
    return np.concatenate(
        [quantiles_by_group(table.label, whole, 1, alpha, table.weight) for alpha in loss.label_quantiles]
    )


def cuts_of(table: Table, max_bin: int, threads: Threads | None = None) -> Cuts:
    """Return the bins of a table, which has a bin for every category that it names."""
    weight = table.weight
    if weight is not None and table.qid is not None:
        weight = np.repeat(weight, np.diff(table.group_starts))
    found = Cuts.from_data(table.features, max_bin, [one == "c" for one in table.types], weight, threads)
    edges: list[Any] = []
    for feature in range(found.features):
        if found.categorical[feature]:
            edges.append(max(len(table.categories[feature]), 1))
        else:
            edges.append((found.edges(feature), found.minimums[feature]))
    return Cuts.from_edges(edges)


@dataclass
class EarlyStopping:
    """Tells when a metric has not improved for some rounds, by XGBoost's rule.

    Args:
        rounds: as many rounds without an improvement end the training.
        maximize: a greater value is better.
    """

    rounds: int
    maximize: bool
    best_score: float = float("nan")
    best_iteration: int = -1
    _seen: int = 0

    def stops(self, score: float) -> bool:
        """Take the score of one more round; return whether it was the last one."""
        better = score > self.best_score if self.maximize else score < self.best_score
        if self._seen == 0 or better:
            self.best_score, self.best_iteration = score, self._seen
        self._seen += 1
        return self._seen - 1 - self.best_iteration >= self.rounds


def train(
    params: Params | Mapping[str, Any],
    table: Table,
    rounds: int,
    *,
    evals: Mapping[str, Table] | None = None,
    early_stopping_rounds: int | None = None,
    model: Model | None = None,
    cuts: Cuts | None = None,
    gradients: Gradients | None = None,
    threads: Threads | None = None,
) -> tuple[Model, History]:
    """Train a model.

    Args:
        params: all parameters, or a dict of XGBoost's.
        table: the rows.
        rounds: the most rounds to add.
        evals: tables to evaluate after each round, by name.
        early_stopping_rounds: end when the last metric of the last table has not improved for so many rounds.
        model: the model to begin with.
        cuts: the bins; none: made from the table.
        gradients: a loss of one's own.
        threads: shares the work; none: ``params.nthread``.
    Returns:
        the model, with the attributes ``best_iteration`` and ``best_score`` after early stopping, and the metrics.
    Raises:
        FlareError: parameters, tables and model do not fit each other.
    """
    trainer = Trainer(params, table, model=model, cuts=cuts, gradients=gradients, threads=threads)
    evals = evals or {}
    metrics = metrics_of(trainer.params, trainer.loss) if evals else []
    if early_stopping_rounds is not None and not metrics:
        raise ModelError("early stopping needs a table in evals and a metric")
    margins = [
        trainer.margins if one is table else trainer.model.predict_margins(one.features, one.base_margin)
        for one in evals.values()
    ]
    history: History = {name: {one.name: [] for one in metrics} for name in evals}
    stopping = EarlyStopping(early_stopping_rounds, metrics[-1].maximize) if early_stopping_rounds is not None else None
    for _ in range(rounds):
        trees = trainer.round()
        outputs = trainer.model.outputs[-len(trees) :]
        score = 0.0
        for (name, one), margin in zip(evals.items(), margins, strict=True):
            if one is not table:
                Forest(trees, outputs).add_margins(one.features, margin, trainer.threads)
            predictions = trainer.loss.transform_for_metrics(margin)
            for each in metrics:
                score = each(predictions, one)
                history[name][each.name].append(score)
        if stopping is not None and stopping.stops(score):
            break
    if stopping is not None and stopping.best_iteration >= 0:
        first = trainer.model.num_rounds - stopping._seen
        best = {"best_iteration": str(first + stopping.best_iteration), "best_score": repr(stopping.best_score)}
        trainer.model = replace(trainer.model, attributes={**trainer.model.attributes, **best})
    return trainer.model, history

"""SiteRows: a site's half of horizontal training, which knows its own rows and the model, and nothing of other sites.

The server's half asks for *actions*: the methods of :class:`SiteRows` that are named in :data:`ACTIONS`. Some change
how far the site is; others return sums over its rows, as int64 arrays by name, which add up over the sites.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flare_xgb.data import DataError, Schema, Table, conform
from flare_xgb.engine.binned import BinnedMatrix
from flare_xgb.engine.cuts import Cuts
from flare_xgb.engine.fixed_point import FixedPoint
from flare_xgb.engine.histogram import histograms
from flare_xgb.engine.predict import Forest
from flare_xgb.engine.rows import RowPartition, Split
from flare_xgb.engine.sampling import sample_rows
from flare_xgb.engine.threads import Threads
from flare_xgb.engine.tree import Tree
from flare_xgb.horizontal.exponents import exponent_counts, power_of_two_above
from flare_xgb.horizontal.keys import SortedKeys, count_keys, keys_of
from flare_xgb.horizontal.learning import Learning
from flare_xgb.objectives import Bounds, Objective
from flare_xgb.objectives.quantiles import in_units
from flare_xgb.objectives.sums import Sums

Numbers = dict[str, NDArray[np.int64]]
"""Sums over a site's rows, by name."""

ACTIONS = (
    "conform", "count", "values", "labels", "base", "begin", "trees",
    "round", "tree", "split", "histograms", "residuals", "leaves", "metrics",
)  # fmt: skip


class Behind(Exception):
    """The site is not where the server takes it to be, as after it was started again."""


class SiteRows:
    """The rows of a site, and how far training is with them.

    Args:
        table: the rows to train on.
        validation: those to validate with.
        learning: what is trained.
        threads: share the work.
        site: the site's name, for messages.
    """

    def __init__(
        self, table: Table, validation: Table | None, learning: Learning, threads: Threads, site: str = ""
    ) -> None:
        self._given = (table, validation)
        self._learning = learning
        self._objective: Objective = learning.objective
        self._threads = threads
        self._site = site
        self._table: Table | None = None
        self._validation: Table | None = None
        self._sorted: dict[int, SortedKeys] = {}  # features whose values were counted last
        self._finished = 0
        self._number = -1
        self._partition: RowPartition | None = None

    def do(self, action: str, arguments: Mapping[str, Any]) -> Numbers:
        """Do one of the :data:`ACTIONS`.

        Raises:
            Behind: the site is not at the point where the action belongs.
            DataError: there is no such action, or the rows do not fit; names the site.
        """
        if action not in ACTIONS:
            raise DataError(f"{self._site}: there is no action {action!r}; all need the same version of flare-xgb")
        if self._table is None and action != "conform":
            raise Behind
        found: Numbers | None = getattr(self, f"do_{action}")(**arguments)
        return found or {}

    def do_conform(self, schema: Mapping[str, Any]) -> None:
        """Bring the rows into the form that all sites agreed on."""
        agreed = Schema.from_dict(schema)
        self._table, self._validation = (
            None if each is None else conform(each, agreed, site=self._site) for each in self._given
        )
        for each in (self._table, self._validation):
            if each is not None and len(each):
                self._objective.check(each)

    @property
    def _rows(self) -> Table:
        assert self._table is not None
        return self._table

    def _weights(self, unit: float | None) -> NDArray[np.int64]:
        """Return the rows' weights in units; one number if all are 1."""
        weight = row_weights(self._rows)
        return np.ones(1, np.int64) if weight is None or unit is None else in_units(weight, unit)

    def do_count(self) -> Numbers:
        """Count the rows to train on and those to validate with, and the exponent of the largest weight."""
        weight = row_weights(self._rows)
        largest = float(weight.max(initial=0)) if weight is not None else float(len(self._rows) > 0)
        rows = [len(self._rows), 0 if self._validation is None else len(self._validation)]
        return {"rows": np.array(rows), "weight": exponent_counts([largest])}

    def do_values(self, question: dict[str, Any], features: Sequence[int], unit: float | None) -> Numbers:
        """Count the values of some features, each a group of the question."""
        if missing := [feature for feature in features if feature not in self._sorted]:
            weights = None if unit is None or self._rows.weight is None else self._weights(unit)
            columns = (np.ascontiguousarray(self._rows.features[:, feature]) for feature in missing)
            made = self._threads.map(lambda column: SortedKeys(column, weights), columns)
            kept = {feature: each for feature, each in self._sorted.items() if feature in features}
            self._sorted = kept | dict(zip(missing, made, strict=True))
        pointers = question["pointers"]
        parts = self._threads.map(
            lambda group: self._sorted[features[group]].counts(
                question["prefixes"][pointers[group] : pointers[group + 1]], question["depth"], question["bits"]
            ),
            range(len(features)),
        )
        return {"counts": np.concatenate([_zeros(question)[:0], *parts])}

    def do_labels(self, question: dict[str, Any], unit: float | None) -> Numbers:
        """Count the labels."""
        counts = _zeros(question)
        label = self._rows.label
        assert label is not None
        count_keys(keys_of(label), np.zeros(len(label), np.int32), self._weights(unit), question, counts)
        return {"counts": counts}

    def do_base(self) -> Numbers:
        """Return the sums that the base score is made of."""
        return {"base": self._objective.base_sums(self._rows)}

    def do_begin(self, cuts: Mapping[str, Any], sums: Sums, base: NDArray[np.float32], first: int) -> None:
        """Begin to train.

        Args:
            cuts: the bins.
            sums: those of ``base`` over all sites.
            base: float32 [outputs], the first margins.
            first: the number of rows that other sites have before.
        """
        self._objective = self._learning.objective.agreed(sums)
        self._finished, self._number, self._partition, self._first = 0, -1, None, first
        self._sorted = {}
        self._binned = BinnedMatrix.of(Cuts(**cuts), self._rows.features)
        self._margins = self._first_margins(self._rows, base)
        self._validation_margins = None if self._validation is None else self._first_margins(self._validation, base)

    def _first_margins(self, table: Table, base: NDArray[np.float32]) -> NDArray[np.float32]:
        outputs = self._objective.outputs
        if table.base_margin is not None:
            return np.array(np.broadcast_to(table.base_margin.reshape(len(table), -1), (len(table), outputs)))
        return np.tile(base, (len(table), 1))

    def do_trees(self, trees: Sequence[Mapping[str, Any]], outputs: Sequence[int]) -> None:
        """Add trees of which the site did not take part in the growth, or lost what it knew of it."""
        forest = Forest([Tree.from_plain(each) for each in trees], outputs)
        forest.add_margins(self._rows.features, self._margins, self._threads)
        self._add_to_validation(forest)
        self._finished += len(trees)

    def _add_to_validation(self, forest: Forest) -> None:
        if self._validation is not None and self._validation_margins is not None:
            forest.add_margins(self._validation.features, self._validation_margins, self._threads)

    def do_round(self, number: int) -> Numbers:
        """Compute the gradients of a round; return their bounds, and the number of rows that they are of."""
        if self._number != number:
            if self._finished != number * self._learning.trees_per_round:
                raise Behind
            self._gradients = self._objective.gradients(self._margins, self._rows, number)
            keeps = bool(self._objective.leaf_quantiles) and self._learning.params.num_parallel_tree > 1
            self._before = self._margins.copy() if keeps else self._margins  # the residuals of all trees of the round
            self._number = number
        bounds = self._objective.bounds(self._rows) or Bounds.measured(self._gradients)
        return {
            "bounds": exponent_counts([power_of_two_above(each) for each in (bounds.gradient, bounds.hessian)]),
            "rows": np.array([len(self._rows)]),
        }

    def do_tree(self, number: int, output: int, scale: Sequence[int], rows: Mapping[str, Any] | None = None) -> Numbers:
        """Begin a tree, also again; return the sums of all rows' gradients."""
        if self._finished != number or self._number < 0:
            raise Behind
        gradient, hessian = (np.ascontiguousarray(each[:, output]) for each in self._gradients)
        self._used = None
        if rows is not None:
            self._used = used = sample_rows(rows["seed"], len(self._rows), rows["share"], self._first)
            gradient, hessian = np.where(used, gradient, np.float32(0)), np.where(used, hessian, np.float32(0))
        self._pairs = FixedPoint(*scale).encode(gradient, hessian)
        self._partition = RowPartition(len(self._rows), self._threads)
        self._output, self._steps = output, 0
        return {"root": self._pairs.sum(axis=0)}

    def do_split(self, number: int, step: int, splits: Sequence[Mapping[str, Any]]) -> None:
        """Apply the splits of a step of a tree's growth; those that are applied already are not applied again."""
        if self._finished > number:  # it was done before
            return
        if self._finished != number or self._partition is None or step not in (self._steps, self._steps - 1):
            raise Behind
        if step == self._steps:
            self._partition.apply([Split.from_plain(dict(each)) for each in splits], self._binned)
            self._steps += 1

    def do_histograms(self, number: int, step: int, nodes: Sequence[int]) -> Numbers:
        """Return the histograms of nodes, int64 [nodes, bins, 2]."""
        if self._finished != number or self._partition is None or step != self._steps:
            raise Behind
        rows = [self._partition.rows_of(node) for node in nodes]
        return {"histograms": np.stack(histograms(self._binned, self._pairs, rows, self._threads))}

    def do_residuals(
        self, number: int, step: int, question: dict[str, Any], leaves: Sequence[int], unit: float
    ) -> Numbers:
        """Count the residuals of each leaf's rows: label − margin before the tree."""
        if self._finished != number or self._partition is None or step != self._steps:
            raise Behind
        label = self._rows.label
        assert label is not None
        groups = np.full(max(leaves) + 1, -1, np.int32)
        groups[list(leaves)] = np.arange(len(leaves))
        counts = _zeros(question)
        of_rows = groups[self._partition.leaf_of_rows()]
        if self._used is not None:
            of_rows[~self._used] = -1
        count_keys(keys_of(label - self._before[:, self._output]), of_rows, self._weights(unit), question, counts)
        return {"counts": counts}

    def do_leaves(self, number: int, tree: Mapping[str, Any]) -> None:
        """Finish a tree: add the values of its leaves to the margins."""
        if self._finished > number:  # it was done before
            return
        if self._finished != number or self._partition is None:
            raise Behind
        grown = Tree.from_plain(tree)
        self._partition.add_values(grown.values, self._margins[:, self._output])
        self._add_to_validation(Forest([grown], [self._output]))
        self._finished, self._partition = number + 1, None

    def do_metrics(self, number: int) -> Numbers:
        """Return the sums of each metric over the rows to train on and over those to validate with."""
        if self._finished != number:
            raise Behind
        sums: Numbers = {}
        for metric in self._learning.metrics:
            own = metric.sums(self._objective.transform_for_metrics(self._margins), self._rows)
            sums[f"train-{metric.name}"] = own
            if self._validation is None or self._validation_margins is None:
                sums[f"validation-{metric.name}"] = np.zeros_like(own)  # others may have rows to validate with
            else:
                predictions = self._objective.transform_for_metrics(self._validation_margins)
                sums[f"validation-{metric.name}"] = metric.sums(predictions, self._validation)
        return sums


def row_weights(table: Table) -> NDArray[np.float32] | None:
    """Return the weight of each row; that of its group in a ranking. None if all are 1."""
    if table.weight is None or table.qid is None:
        return table.weight
    return np.repeat(table.weight, np.diff(table.group_starts))


def _zeros(question: Mapping[str, Any]) -> NDArray[np.int64]:
    return np.zeros((len(question["prefixes"]), 1 << question["bits"]), np.int64)

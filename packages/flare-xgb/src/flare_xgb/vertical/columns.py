"""SiteColumns: the features of one site and what can be asked of them, the same at the label owner and elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flare_xgb.data import Category, Table
from flare_xgb.engine.binned import BinnedMatrix
from flare_xgb.engine.cuts import Cuts
from flare_xgb.engine.fixed_point import FixedPoint
from flare_xgb.engine.gain import Rules
from flare_xgb.engine.rows import Split
from flare_xgb.engine.split import Candidate, NodeSums, best_split
from flare_xgb.engine.threads import Threads
from flare_xgb.engine.train import cuts_of
from flare_xgb.params import TreeParams

Bools = NDArray[np.bool_]


class SiteColumns:
    """The features of one site: those of the rows to train on, then those of the rows to validate with.

    Args:
        train: the rows to train on.
        validation: the rows to validate with.
        first: the place of the site's first feature among those of all sites.
        max_bin: the most bins of a feature.
        weight: of the rows to train on, by which the bins are chosen where a feature has many values.
        threads: shares the work.
    """

    def __init__(
        self,
        train: Table,
        validation: Table | None,
        first: int,
        max_bin: int,
        weight: NDArray[np.float32] | None,
        threads: Threads,
    ) -> None:
        plain = replace(train, label=None, weight=weight, base_margin=None, qid=None)
        self.cuts = cuts_of(plain, max_bin)
        self.binned = BinnedMatrix.of(self.cuts, train.features)
        self.first = first
        parts = [train.features] if validation is None else [train.features, recoded(validation, train.categories)]
        self._columns = np.ascontiguousarray(np.concatenate(parts).T)
        self._threads = threads

    def threshold(self, feature: int, bin: int) -> np.float32:
        """Return the threshold of a split, by the place of the feature among all and the last bin that goes left."""
        own = feature - self.first
        return np.float32(self.cuts.minimums[own] if bin < 0 else self.cuts.edges(own)[bin])

    def thresholds(self, splits: Sequence[Split]) -> NDArray[np.float32]:
        """Return the threshold of each split; 0 where the feature is categorical."""
        return np.array(
            [0 if each.categories is not None else self.threshold(each.feature, each.bin) for each in splits],
            np.float32,
        )

    def divide(self, split: Split, rows: NDArray[np.int32]) -> Bools:
        """Return which of some rows go right."""
        at = split.feature - self.first
        return goes_right(self._columns[at][rows], self.thresholds([split])[0], split.default_left, split.categories)


def recoded(table: Table, categories: Mapping[int, Sequence[Category]]) -> NDArray[np.float32]:
    """Return features whose categories have the codes of other ones; unknown categories have a code beyond."""
    features = table.features
    for at, own in table.categories.items():
        known = {category: code for code, category in enumerate(categories.get(at, ()))}
        codes = np.array([known.get(category, len(known)) for category in own], np.float32)
        if not np.array_equal(codes, np.arange(len(own))):
            features = features.copy() if features is table.features else features
            present = ~np.isnan(features[:, at])
            features[present, at] = codes[features[present, at].astype(np.int64)]
    return features


def goes_right(
    values: NDArray[np.float32], threshold: np.float32, default_left: bool, categories: Sequence[int] | None
) -> Bools:
    """Return which values go to the right of a split, as XGBoost decides for rows that it has not seen, too.

    Args:
        values: float32, NaN missing.
        threshold: smaller numbers go left.
        default_left: missing values go left.
        categories: those that go right; None if the feature is numeric.
    """
    missing = np.isnan(values)
    right = values >= threshold if categories is None else np.isin(values, np.asarray(categories, np.float32))
    return np.where(missing, not default_left, right)


def numbered_cuts(sizes: Sequence[int], categorical: Sequence[bool]) -> Cuts:
    """Return cuts that stand for those of another site: an edge is the number of its bin, a minimum is -1."""
    return Cuts.from_edges(
        [int(size) if flag else (np.arange(size), -1.0) for size, flag in zip(sizes, categorical, strict=True)]
    )


@dataclass(frozen=True)
class Proposer:
    """Finds the best splits of nodes among the features of one site.

    Args:
        cuts: the bins of these features, with or without their true edges.
        params: how the tree grows; constraints are of the features of all sites.
        first: the place of the site's first feature among all.
        threads: shares the nodes.
    """

    cuts: Cuts
    params: TreeParams
    first: int
    threads: Threads

    def propose(
        self,
        histograms: Mapping[int, NDArray[np.int64]],
        nodes: Mapping[int, tuple[NodeSums, NDArray[np.int64]]],
        scale: FixedPoint,
    ) -> dict[int, Candidate]:
        """Return the best split of each node; the places of features are those among all.

        Args:
            histograms: int64 [bins, 2] of each node.
            nodes: by node, its sums, and the places among all of the features that it may use.
            scale: what the integers stand for.
        """
        monotone = np.zeros(self.cuts.features, np.int64)
        signs = self.params.monotone_constraints[self.first : self.first + self.cuts.features]
        monotone[: len(signs)] = signs
        rules = Rules.of(self.params)

        def best(node: int) -> Candidate:
            sums, allowed = nodes[node]
            own = np.asarray(allowed, np.int64) - self.first
            own = own[(own >= 0) & (own < self.cuts.features)]
            found = best_split(histograms[node], self.cuts, own, sums, scale, rules, monotone)
            return replace(found, feature=found.feature + self.first)

        return dict(zip(nodes, self.threads.map(best, nodes), strict=True))


def plain_nodes(nodes: Mapping[int, tuple[NodeSums, NDArray[np.int64]]]) -> list[dict[str, Any]]:
    """Return nodes, as :meth:`Proposer.propose` takes them, as plain data."""
    return [
        {
            "node": node,
            "sums": [sums.gradient, sums.hessian],
            "floats": np.array([sums.gain, sums.lower, sums.upper], np.float32),
            "features": np.asarray(allowed, np.int64),
        }
        for node, (sums, allowed) in nodes.items()
    ]


def nodes_of(plain: Sequence[Mapping[str, Any]]) -> dict[int, tuple[NodeSums, NDArray[np.int64]]]:
    """Return the nodes of such data."""
    return {
        int(each["node"]): (
            NodeSums(int(each["sums"][0]), int(each["sums"][1]), *np.asarray(each["floats"], np.float32)),
            np.asarray(each["features"], np.int64),
        )
        for each in plain
    }

"""The growth of a tree whose histograms lie at several sites, and the rows of its nodes at each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flare_xgb.engine.binned import BinnedMatrix
from flare_xgb.engine.grower import TreeGrower
from flare_xgb.engine.rows import RowPartition, Split
from flare_xgb.engine.split import Candidate, NodeSums, better
from flare_xgb.engine.threads import Threads
from flare_xgb.engine.tree import NO_NODE

Family = tuple[int, int, int]
"""A node that was split, and its children; (-1, 0, -1) stands for the root alone."""

_LEAST_CHANGE = np.float32(1e-6)
_ELSEWHERE = np.zeros((0, 2), np.int64)


@dataclass(frozen=True)
class Division:
    """A node's rows divided, for sites that do not have the feature of the split.

    Args:
        node: the node that is split.
        left: its left child.
        right: its right child.
        bits: uint8, a bit for each of the node's rows, in their order: 1 goes right.
    """

    node: int
    left: int
    right: int
    bits: NDArray[np.uint8]

    def to_plain(self) -> dict[str, Any]:
        """Return a dict of numbers and an array."""
        return dict(vars(self))


class JoinedGrower(TreeGrower):
    """Grows a tree from the splits that the owners of the columns propose, instead of from histograms."""

    def families(self) -> list[Family]:
        """Return the nodes whose best splits :meth:`take` needs next."""
        found: list[Family] = []
        for node in self._wanted:
            above = self._nodes[node].parent
            found.append(
                (-1, 0, -1) if above == NO_NODE else (above, self._nodes[above].left, self._nodes[above].right)
            )
        return found

    def nodes(self) -> dict[int, tuple[NodeSums, NDArray[np.int64]]]:
        """Return the sums of each of these nodes, and the features that it may use; call it once for each step."""
        nodes = [node for family in self.families() for node in family[1:] if node >= 0]
        return {node: (self._nodes[node].sums, self._features(node)) for node in nodes}  # in order: this draws

    def take(self, proposals: Sequence[Mapping[int, Candidate]]) -> list[Split]:
        """Split nodes by the best of the proposed splits.

        Args:
            proposals: of each site, the best split of each node of :meth:`nodes`.
        Returns:
            the splits to apply; may be empty.
        """
        nodes = [node for family in self.families() for node in family[1:] if node >= 0]
        self._wanted = []
        for node in nodes:
            best = proposals[0][node]
            for others in proposals[1:]:
                best = others[node] if better(others[node], best) else best
            if best.loss_change > _LEAST_CHANGE:
                self._found[node], self._histograms[node] = best, _ELSEWHERE
                self._queue.append(node)
        return self._split_next()


class NodeRows:
    """The rows of each node of a growing tree: those to train on, followed by those to validate with.

    Args:
        rows: number of rows.
        training: how many of them, the first ones, are trained on.
        threads: shares the work.
    """

    def __init__(self, rows: int, training: int, threads: Threads) -> None:
        self._partition = RowPartition(rows, threads)
        self._rows, self._training = rows, training

    def all_of(self, node: int) -> NDArray[np.int32]:
        """Return all rows of a node that is not split, ascending."""
        return self._partition.rows_of(node)

    def training_of(self, node: int) -> NDArray[np.int32]:
        """Return those to train on, ascending."""
        rows = self._partition.rows_of(node)
        return rows[: np.searchsorted(rows, self._training)]

    def divide(self, divisions: Sequence[Division]) -> None:
        """Divide nodes, of which none is a child of another."""
        codes = np.zeros((self._rows, 1), np.uint8)
        for each in divisions:
            rows = self._partition.rows_of(each.node)
            codes[rows, 0] = np.unpackbits(each.bits, count=len(rows))
        splits = [Split(each.node, each.left, each.right, 0, 0, default_left=False) for each in divisions]
        self._partition.apply(splits, BinnedMatrix(codes, np.array([2])))

    def leaves(self) -> NDArray[np.int32]:
        """Return the leaf of each row."""
        return self._partition.leaf_of_rows()

    def add_values(self, values: NDArray[np.float32], margins: NDArray[np.float32]) -> None:
        """Add to the margin of each row the value of its leaf."""
        self._partition.add_values(values, margins)


class Histograms:
    """Histograms of the nodes of one tree, where of two siblings only the smaller one is counted.

    It is the one with fewer rows, which all sites know alike, and which says nothing of gradients.
    """

    def __init__(self) -> None:
        self._of_nodes: dict[int, NDArray[np.int64]] = {}

    @staticmethod
    def wanted(families: Sequence[Family], rows: NodeRows) -> list[int]:
        """Return the nodes to count: one of each family."""
        return [
            left if right < 0 or len(rows.training_of(left)) <= len(rows.training_of(right)) else right
            for _, left, right in families
        ]

    def complete(
        self, families: Sequence[Family], wanted: Sequence[int], counted: Sequence[NDArray[np.int64]]
    ) -> dict[int, NDArray[np.int64]]:
        """Return the histograms of all nodes of the families, given those of the wanted ones."""
        found: dict[int, NDArray[np.int64]] = {}
        for (above, left, right), node, histogram in zip(families, wanted, counted, strict=True):
            found[node] = histogram
            if right >= 0:
                found[right if node == left else left] = self._of_nodes.pop(above) - histogram
        self._of_nodes |= found
        return found

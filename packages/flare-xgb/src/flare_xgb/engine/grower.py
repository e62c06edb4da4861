"""The growth of one tree from sums of histograms: the part that never sees a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from flare_core import ModelError
from flare_xgb.engine.cuts import Cuts
from flare_xgb.engine.fixed_point import FixedPoint
from flare_xgb.engine.gain import Rules, leaf
from flare_xgb.engine.rows import Split
from flare_xgb.engine.sampling import ColumnSampler
from flare_xgb.engine.split import Candidate, NodeSums, best_split, candidates_of_plain, plain_of_candidates
from flare_xgb.engine.threads import Threads
from flare_xgb.engine.tree import NO_NODE, NO_THRESHOLD, ROOTLESS, Tree
from flare_xgb.params import TreeParams

_LEAST_CHANGE = np.float32(1e-6)
_FLOAT_MAX = np.finfo(np.float32).max


@dataclass
class _Node:
    parent: int
    depth: int
    sums: NodeSums
    base_weight: np.float32
    value: np.float32  # as a leaf
    used: frozenset[int] = frozenset()  # features of the splits above it; kept for interaction constraints only
    left: int = NO_NODE
    right: int = NO_NODE
    split: Candidate | None = None


class TreeGrower:
    """Grows a tree by XGBoost's rules from the histograms of its nodes.

    Ask for nodes, give their histograms, apply the splits to all rows, until it is done:

        grower = TreeGrower(params, cuts, root_sum, scale)
        while not grower.done:
            splits = grower.grow({node: histogram_of(node) for node in grower.wanted()})
            partition.apply(splits, binned)
        tree = grower.tree()

    Depthwise growth needs one such step for each level, loss-guided growth one for each split. The last step may return
    splits, which must be applied too. Of two siblings the one with the smaller Hessian is wanted; the other's histogram
    is the difference, exactly.

    Args:
        params: how the tree grows.
        cuts: the bins.
        root_sum: int64 [2], the sums of all rows' integer gradients and Hessians.
        scale: what the integers stand for.
        columns: draws columns; none: all are used. Its ``start_tree`` is called here.
        threads: shares the search among nodes.
    """

    def __init__(
        self,
        params: TreeParams,
        cuts: Cuts,
        root_sum: npt.NDArray[np.int64],
        scale: FixedPoint,
        columns: ColumnSampler | None = None,
        threads: Threads | None = None,
    ) -> None:
        self._params, self._cuts, self._scale, self._columns = params, cuts, scale, columns
        self._threads = threads or Threads(1)
        self._rules = Rules.of(params)
        self._rate = np.float32(params.learning_rate)
        self._monotone = np.zeros(cuts.features, np.int64)
        self._monotone[: len(params.monotone_constraints)] = params.monotone_constraints
        self._groups = [frozenset(group) for group in params.interaction_constraints]
        self._all = np.arange(cuts.features)
        if columns is not None:
            columns.start_tree()
        self._units = 2.0**-scale.gradient_bits, 2.0**-scale.hessian_bits
        self._nodes: list[_Node] = []
        self._nodes.append(self._make(NO_NODE, (int(root_sum[0]), int(root_sum[1])), (-_FLOAT_MAX, _FLOAT_MAX)))
        self._leaves = 1
        self._found: dict[int, Candidate] = {}  # the best split of each queued node
        self._queue: list[int] = []
        self._histograms: dict[int, npt.NDArray[np.int64]] = {}  # of queued nodes and of parents of wanted ones
        self._wanted: list[int] = [0]

    @property
    def done(self) -> bool:
        """The tree is grown."""
        return not self._wanted

    def wanted(self) -> list[int]:
        """Return the nodes whose histograms ``grow`` needs next."""
        return list(self._wanted)

    def grow(self, histograms: Mapping[int, npt.NDArray[np.int64]]) -> list[Split]:
        """Split nodes.

        Args:
            histograms: int64 [bins, 2] of each node of ``wanted()``, summed over all rows.
        Returns:
            the splits to apply, in this order; may be empty.
        Raises:
            ModelError: a wanted node has no histogram, or it has another shape.
        """
        for node in self._wanted:
            if node not in histograms or histograms[node].shape != (self._cuts.bins, 2):
                raise ModelError(f"node {node} needs a histogram of shape ({self._cuts.bins}, 2)")
        entries: list[int] = []
        for node in self._wanted:
            self._histograms[node] = np.asarray(histograms[node], np.int64)
            above = self._nodes[node].parent
            if above == NO_NODE:
                entries.append(node)
                continue
            left, right = self._nodes[above].left, self._nodes[above].right
            other = right if node == left else left
            self._histograms[other] = self._histograms.pop(above) - self._histograms[node]
            entries += [left, right]
        self._wanted = []
        self._search(entries)
        return self._split_next()

    def tree(self) -> Tree:
        """Return the tree as grown so far."""
        nodes, count = self._nodes, len(self._nodes)
        splits = [node.split for node in nodes]
        return Tree(
            left=np.array([node.left for node in nodes], np.int32),
            right=np.array([node.right for node in nodes], np.int32),
            parent=np.array([ROOTLESS, *(node.parent for node in nodes[1:])], np.int32),
            feature=np.array([0 if one is None else one.feature for one in splits], np.int32),
            threshold=np.array(
                [node.value if node.split is None else self._threshold(node.split) for node in nodes], np.float32
            ),
            default_left=np.array([one is not None and one.default_left for one in splits], bool),
            base_weight=np.array(
                [nodes[at].value if splits[at] is None and at else nodes[at].base_weight for at in range(count)],
                np.float32,
            ),
            loss_change=np.array([0 if one is None else one.loss_change for one in splits], np.float32),
            hessian=np.array([node.sums.hessian * self._units[1] for node in nodes], np.float64).astype(np.float32),
            categories={
                at: np.array(one.categories, np.int32)
                for at, one in enumerate(splits)
                if one is not None and one.categories is not None
            },
        )

    def _threshold(self, split: Candidate) -> np.float32:
        if split.categories is not None:
            return NO_THRESHOLD
        if split.bin < 0:
            return np.float32(self._cuts.minimums[split.feature])
        return np.float32(self._cuts.edges(split.feature)[split.bin])

    def state(self) -> dict[str, Any]:
        """Return plain data, numbers and arrays, from which ``restore`` goes on in the middle of the tree."""
        nodes = self._nodes
        sums = [node.sums for node in nodes]
        return {
            "places": np.array([(node.parent, node.depth, node.left, node.right) for node in nodes], np.int64),
            "sums": np.array([(one.gradient, one.hessian) for one in sums], np.int64),
            "bounds": np.array([(one.gain, one.lower, one.upper) for one in sums], np.float32),
            "weights": np.array([(node.base_weight, node.value) for node in nodes], np.float32),
            "used": [sorted(node.used) for node in nodes] if self._groups else [],
            "splits": plain_of_candidates({at: node.split for at, node in enumerate(nodes) if node.split is not None}),
            "found": plain_of_candidates(self._found),
            "queue": list(self._queue),
            "histograms": {str(node): histogram for node, histogram in self._histograms.items()},
            "wanted": list(self._wanted),
            "leaves": self._leaves,
            "scale": [self._scale.gradient_bits, self._scale.hessian_bits],
            "columns": None if self._columns is None else self._columns.state(),
        }

    @classmethod
    def restore(
        cls,
        params: TreeParams,
        cuts: Cuts,
        state: Mapping[str, Any],
        columns: ColumnSampler | None = None,
        threads: Threads | None = None,
    ) -> TreeGrower:
        """Return a grower that goes on where ``state()`` was taken. ``columns`` is set back to that moment too."""
        self = cls(
            params, cuts, np.zeros(2, np.int64), FixedPoint(*(int(one) for one in state["scale"])), None, threads
        )
        self._columns = columns
        if columns is not None:
            columns.restore(state["columns"])
        self._nodes = []
        splits = candidates_of_plain(state["splits"])
        numbers = zip(*(np.asarray(state[name]) for name in ("places", "sums", "bounds", "weights")), strict=True)
        for at, (places, sums, bounds, weights) in enumerate(numbers):
            parent, depth, left, right = (int(one) for one in places)
            used = frozenset(int(one) for one in state["used"][at]) if self._groups else frozenset()
            node_sums = NodeSums(int(sums[0]), int(sums[1]), *bounds)
            base_weight, value = weights
            self._nodes.append(_Node(parent, depth, node_sums, base_weight, value, used, left, right, splits.get(at)))
        self._found = candidates_of_plain(state["found"])
        self._queue = [int(node) for node in state["queue"]]
        self._histograms = {int(node): np.asarray(one, np.int64) for node, one in state["histograms"].items()}
        self._wanted = [int(node) for node in state["wanted"]]
        self._leaves = int(state["leaves"])
        return self

    def _make(self, parent: int, sums: tuple[int, int], bounds: tuple[np.float32, np.float32]) -> _Node:
        """Make a leaf whose weight and gain have its parent's bounds, as XGBoost's have."""
        gradient, hessian = sums[0] * self._units[0], sums[1] * self._units[1]
        weight, gain = leaf(gradient, hessian, *bounds, self._rules)
        return _Node(
            parent,
            0 if parent == NO_NODE else self._nodes[parent].depth + 1,
            NodeSums(*sums, gain, *bounds),
            weight,
            weight * self._rate,
        )

    def _search(self, entries: list[int]) -> None:
        """Find the best split of each node and queue the nodes that have one."""
        features = [self._features(node) for node in entries]  # in order: this draws
        found = self._threads.map(
            lambda one: best_split(
                self._histograms[one[0]],
                self._cuts,
                one[1],
                self._nodes[one[0]].sums,
                self._scale,
                self._rules,
                self._monotone,
            ),
            zip(entries, features, strict=True),
        )
        for node, candidate in zip(entries, found, strict=True):
            if candidate.loss_change > _LEAST_CHANGE:
                self._found[node] = candidate
                self._queue.append(node)
            else:
                del self._histograms[node]

    def _features(self, node: int) -> npt.NDArray[np.int64]:
        columns = self._all if self._columns is None else self._columns.of_node(self._nodes[node].depth)
        used = self._nodes[node].used
        if not self._groups or not used:
            return columns
        allowed = used.union(*(group for group in self._groups if used <= group))
        return columns[np.isin(columns, list(allowed))]

    def _split_next(self) -> list[Split]:
        """Split nodes until a histogram is needed or none is left to split."""
        splits: list[Split] = []
        while not self._wanted:
            chosen = self._choose()
            if not chosen:
                self._queue, self._histograms, self._found = [], {}, {}
                break
            for node in chosen:
                splits.append(self._split(node))
                depth = self._nodes[node].depth + 1
                if self._params.max_depth and depth >= self._params.max_depth:
                    grows = False
                else:
                    grows = not self._params.max_leaves or self._leaves < self._params.max_leaves
                if grows:
                    self._wanted.append(self._smaller_child(node))
                else:
                    del self._histograms[node]
        return splits

    def _choose(self) -> list[int]:
        """Take the nodes to split next from the queue: all of a level, or the one that improves most."""
        if not self._queue:
            return []
        if self._params.grow_policy == "lossguide":
            node = min(self._queue, key=lambda one: (-self._found[one].loss_change, one))
            self._queue.remove(node)
            if not self._may_split(node):
                return []  # XGBoost ends the tree here
            self._leaves += 1
            return [node]
        level = self._nodes[min(self._queue)].depth
        chosen, rest = [], []
        for node in sorted(self._queue):
            if self._nodes[node].depth != level:
                rest.append(node)
            elif self._may_split(node):
                self._leaves += 1
                chosen.append(node)
            else:
                del self._histograms[node]
        self._queue = rest
        return chosen

    def _may_split(self, node: int) -> bool:
        candidate, params = self._found[node], self._params
        return not (
            candidate.left[1] == 0
            or candidate.right[1] == 0
            or candidate.loss_change < np.float32(params.min_split_loss)
            or (params.max_leaves > 0 and self._leaves == params.max_leaves)
        )

    def _split(self, at: int) -> Split:
        node, candidate = self._nodes[at], self._found.pop(at)
        sums = node.sums
        if self._rules.constrained:  # by now the node has bounds of its own
            gradient, hessian = sums.gradient * self._units[0], sums.hessian * self._units[1]
            node.base_weight, _ = leaf(gradient, hessian, sums.lower, sums.upper, self._rules)
        node.split, node.left, node.right = candidate, len(self._nodes), len(self._nodes) + 1
        children = [self._make(at, side, (sums.lower, sums.upper)) for side in (candidate.left, candidate.right)]
        if self._rules.constrained:
            sign = self._monotone[candidate.feature]
            middle = (children[0].base_weight + children[1].base_weight) / np.float32(2)
            if sign:
                low, high = children if sign > 0 else children[::-1]
                low.sums = replace(low.sums, upper=middle)
                high.sums = replace(high.sums, lower=middle)
        if self._groups:
            for child in children:
                child.used = node.used | {candidate.feature}
        self._nodes += children
        return Split(
            at,
            node.left,
            node.right,
            candidate.feature,
            candidate.bin,
            candidate.default_left,
            candidate.categories,
        )

    def _smaller_child(self, node: int) -> int:
        left, right = self._nodes[node].left, self._nodes[node].right
        return right if self._nodes[right].sums.hessian < self._nodes[left].sums.hessian else left

"""Predictions from trees: margins and leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flare_xgb._jit import kernel
from flare_xgb.engine.threads import Threads
from flare_xgb.engine.tree import Tree

_BLOCK = 512


@dataclass(frozen=True, eq=False)
class Forest:
    """Trees one after the other in the same arrays, for fast prediction.

    Args:
        trees: the trees; if strangers made them, see ``Tree.check``.
        outputs: for each the output to which it adds.
    """

    trees: Sequence[Tree]
    outputs: Sequence[int]

    def __post_init__(self) -> None:
        sizes = np.array([tree.nodes for tree in self.trees], np.int64)
        roots = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

        def joined(name: str, kind: str) -> npt.NDArray[Any]:
            return np.concatenate([np.empty(0, kind), *(getattr(tree, name) for tree in self.trees)]).astype(kind)

        starts = np.full(int(roots[-1]) + 1, -1, np.int64)  # of the node's categories in ``sets``; -1: numeric
        sets: list[npt.NDArray[np.bool_]] = []
        ends = np.zeros(int(roots[-1]) + 1, np.int64)
        at = 0
        for root, tree in zip(roots, self.trees, strict=False):
            for node, categories in tree.categories.items():
                right = np.zeros(int(categories.max(initial=0)) + 1, bool)
                right[categories] = True
                starts[root + node], ends[root + node] = at, at + len(right)
                at += len(right)
                sets.append(right)
        leaf, own = joined("left", "i8") < 0, np.arange(roots[-1])
        root_of_node = np.repeat(roots[:-1], sizes)
        children = np.empty((int(roots[-1]), 2), np.uint32)  # a leaf's are itself
        children[:, 0] = np.where(leaf, own, joined("left", "i8") + root_of_node)
        children[:, 1] = np.where(leaf, own, joined("right", "i8") + root_of_node)
        arrays = (
            roots,
            children,
            np.where(leaf, 0, joined("feature", "i8")).astype(np.uint32),  # read at leaves, too
            joined("threshold", "f4"),
            joined("default_left", "?"),
            starts,
            ends,
            np.concatenate([np.zeros(0, bool), *sets]),
        )
        object.__setattr__(self, "_arrays", arrays)

    def add_margins(
        self, data: npt.NDArray[np.float32], margins: npt.NDArray[np.float32], threads: Threads | None = None
    ) -> None:
        """Add all trees to margins, in float32, tree after tree.

        Args:
            data: float32 [rows, features], NaN missing.
            margins: float32 [rows, outputs], changed.
            threads: shares the rows.
        """
        outputs = np.asarray(self.outputs, np.int64)
        arrays = self._arrays  # type: ignore[attr-defined]  # set above: the class is frozen
        (threads or Threads(1)).map(
            lambda at: _add(data[at : at + _BLOCK], margins[at : at + _BLOCK], outputs, *arrays),
            range(0, len(data), _BLOCK),
        )

    def leaves(self, data: npt.NDArray[np.float32], threads: Threads | None = None) -> npt.NDArray[np.int32]:
        """Return the leaf of each row in each tree, int32 [rows, trees]."""
        out = np.empty((len(data), len(self.trees)), np.int32)
        arrays = self._arrays  # type: ignore[attr-defined]  # set above: the class is frozen
        (threads or Threads(1)).map(
            lambda at: _leaves(data[at : at + _BLOCK], out[at : at + _BLOCK], *arrays),
            range(0, len(data), _BLOCK),
        )
        return out


@kernel
def _descend(
    data: npt.NDArray[np.float32],
    nodes: npt.NDArray[np.uint32],
    children: npt.NDArray[np.uint32],
    feature: npt.NDArray[np.uint32],
    threshold: npt.NDArray[np.float32],
    default_left: npt.NDArray[np.bool_],
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    sets: npt.NDArray[np.bool_],
) -> None:
    """Bring rows from the root of a tree to their leaves, a level at a time.

    So the processor works on several rows at once; hence also no branch, and indices without a sign.
    """
    moved = True
    while moved:
        moved = False
        for row in range(np.uint64(len(nodes))):
            node = np.uint64(nodes[row])
            value = data[row, np.uint64(feature[node])]
            if starts[node] < 0:
                to_left = (value < threshold[node]) | (np.isnan(value) & default_left[node])
            elif np.isnan(value):
                to_left = default_left[node]
            else:  # a category that no training row had goes left
                size = ends[node] - starts[node]
                to_left = not (value >= 0 and value < size and sets[starts[node] + np.int64(value)])
            child = children[node, np.uint64(1) - np.uint64(to_left)]
            moved |= child != nodes[row]
            nodes[row] = child


@kernel
def _add(
    data: npt.NDArray[np.float32],
    margins: npt.NDArray[np.float32],
    outputs: npt.NDArray[np.int64],
    roots: npt.NDArray[np.int64],
    children: npt.NDArray[np.uint32],
    feature: npt.NDArray[np.uint32],
    threshold: npt.NDArray[np.float32],
    default_left: npt.NDArray[np.bool_],
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    sets: npt.NDArray[np.bool_],
) -> None:
    nodes = np.empty(len(data), np.uint32)
    for tree in range(len(outputs)):
        nodes[:] = roots[tree]
        _descend(data, nodes, children, feature, threshold, default_left, starts, ends, sets)
        for row in range(len(data)):
            margins[row, outputs[tree]] += threshold[nodes[row]]


@kernel
def _leaves(
    data: npt.NDArray[np.float32],
    out: npt.NDArray[np.int32],
    roots: npt.NDArray[np.int64],
    children: npt.NDArray[np.uint32],
    feature: npt.NDArray[np.uint32],
    threshold: npt.NDArray[np.float32],
    default_left: npt.NDArray[np.bool_],
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    sets: npt.NDArray[np.bool_],
) -> None:
    nodes = np.empty(len(data), np.uint32)
    for tree in range(len(roots) - 1):
        nodes[:] = roots[tree]
        _descend(data, nodes, children, feature, threshold, default_left, starts, ends, sets)
        for row in range(len(data)):
            out[row, tree] = np.int64(nodes[row]) - roots[tree]

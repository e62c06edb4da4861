"""The rows of each node of a growing tree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flare_core import ModelError
from flare_xgb._jit import kernel
from flare_xgb.engine.binned import BinnedMatrix
from flare_xgb.engine.threads import Threads


@dataclass(frozen=True)
class Split:
    """A node's rows divided between two new nodes: all that somebody with the rows must know of it.

    Args:
        node: the node that is split.
        left: its new left child.
        right: its new right child.
        feature: index of the feature.
        bin: rows whose bin is at most this go left, larger ones right; -1: all that are not missing go right. Without
            meaning where the feature is categorical.
        default_left: rows where the feature is missing go left.
        categories: the categories that go right, all others go left; none where the feature is numeric.
    """

    node: int
    left: int
    right: int
    feature: int
    bin: int
    default_left: bool
    categories: tuple[int, ...] | None = None

    def to_plain(self) -> dict[str, Any]:
        """Return a dict of numbers, booleans and lists."""
        plain = dict(vars(self))
        plain["categories"] = None if self.categories is None else list(self.categories)
        return plain

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Split:
        """Return the split of such a dict."""
        categories = plain["categories"]
        return cls(**{**plain, "categories": None if categories is None else tuple(int(one) for one in categories)})


class RowPartition:
    """The rows of each node of a growing tree.

    Args:
        rows: number of rows; all are in node 0.
        threads: shares the work of several splits.
    """

    def __init__(self, rows: int, threads: Threads | None = None) -> None:
        self._order = np.arange(rows, dtype=np.int32)
        self._scratch = np.empty(rows, np.int32)
        self._spans: dict[int, tuple[int, int]] = {0: (0, rows)}
        self._threads = threads or Threads(1)

    @property
    def leaves(self) -> list[int]:
        """The nodes that are not split."""
        return sorted(self._spans)

    def rows_of(self, node: int) -> npt.NDArray[np.int32]:
        """Return the rows of a node that is not split, ascending; a view that the next ``apply`` may change.

        Raises:
            ModelError: the tree has no such leaf.
        """
        begin, end = self._span(node)
        return self._order[begin:end]

    def apply(self, splits: Sequence[Split], binned: BinnedMatrix) -> None:
        """Divide the rows of each split's node.

        A split may be of a child of an earlier one.

        Raises:
            ModelError: a split is of a node that is none or no longer a leaf.
        """
        todo = list(splits)
        while todo:
            now: list[Split] = []
            later: list[Split] = []
            made = {child for split in todo for child in (split.left, split.right)}
            for split in todo:
                (later if split.node in made else now).append(split)
            if not now:
                raise ModelError("the splits refer to each other in a circle")
            spans = [self._span(split.node) for split in now]
            counts = self._threads.map(lambda one: self._divide(one[0], one[1], binned), zip(now, spans, strict=True))
            for split, (begin, end), left in zip(now, spans, counts, strict=True):
                del self._spans[split.node]
                self._spans[split.left] = (begin, begin + left)
                self._spans[split.right] = (begin + left, end)
            todo = later

    def leaf_of_rows(self) -> npt.NDArray[np.int32]:
        """Return the leaf of each row, int32 [rows]."""
        out = np.empty(len(self._order), np.int32)
        for node, (begin, end) in self._spans.items():
            out[self._order[begin:end]] = node
        return out

    def add_values(self, values: npt.NDArray[np.float32], margins: npt.NDArray[np.float32]) -> None:
        """Add to the margin of each row, float32 [rows], the value of its leaf; ``values`` float32 [nodes]."""
        for node, (begin, end) in self._spans.items():
            _add_value(self._order[begin:end], values[node], margins)

    def _span(self, node: int) -> tuple[int, int]:
        if node not in self._spans:
            raise ModelError(f"node {node} is no leaf of the tree")
        return self._spans[node]

    def _divide(self, split: Split, span: tuple[int, int], binned: BinnedMatrix) -> int:
        size = int(binned.sizes[split.feature])
        rows, scratch = self._order[slice(*span)], self._scratch[slice(*span)]
        if split.categories is None:
            left = _divide_numeric(binned.codes, rows, scratch, split.feature, size, split.bin, split.default_left)
        else:
            goes_left = np.ones(size + 1, bool)
            goes_left[list(split.categories)] = False
            goes_left[size] = split.default_left
            left = _divide_categorical(binned.codes, rows, scratch, split.feature, goes_left)
        return int(left)


@kernel
def _add_value(rows: npt.NDArray[np.int32], value: np.float32, margins: npt.NDArray[np.float32]) -> None:
    for row in rows:
        margins[row] += value


# Both bring the rows that go left to the front, leave each side in its order, and return how many go left. A row is
# written to both sides, and the next one over it where it does not belong: no branch, hence none mispredicted.


@kernel
def _divide_numeric(
    codes: npt.NDArray[np.unsignedinteger],
    rows: npt.NDArray[np.int32],
    scratch: npt.NDArray[np.int32],
    feature: int,
    missing: int,
    last_left: int,
    default_left: bool,
) -> Any:
    left: Any = np.uint64(0)  # unsigned indices are faster
    for at in range(np.uint64(len(rows))):
        row = rows[at]
        code = np.int64(codes[np.uint64(row), np.uint64(feature)])
        to_left = (code <= last_left) | ((code == missing) & default_left)
        rows[left] = row
        scratch[at - left] = row
        left += np.uint64(to_left)
    rows[left:] = scratch[: np.uint64(len(rows)) - left]
    return left


@kernel
def _divide_categorical(
    codes: npt.NDArray[np.unsignedinteger],
    rows: npt.NDArray[np.int32],
    scratch: npt.NDArray[np.int32],
    feature: int,
    goes_left: npt.NDArray[np.bool_],
) -> Any:
    left: Any = 0
    for at in range(len(rows)):
        row = rows[at]
        to_left = goes_left[codes[row, feature]]
        rows[left] = row
        scratch[at - left] = row
        left += np.int64(to_left)
    rows[left:] = scratch[: len(rows) - left]
    return left

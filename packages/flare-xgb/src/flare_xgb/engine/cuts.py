"""Bin edges of all features: from data, from XGBoost, or given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from flare_core import ModelError
from flare_xgb._jit import kernel
from flare_xgb.engine.threads import Threads

_MOST_CATEGORIES = 1 << 24  # of one feature: larger numbers are not exact in float32
_GAP = float(np.float32(1e-5))


@dataclass(frozen=True, eq=False)
class Cuts:
    """Upper, exclusive edges of the bins of each feature, as XGBoost's ``HistogramCuts``.

    Bin b of numeric feature f holds x with ``edge[b - 1] <= x < edge[b]``; its first bin also what is smaller, its last
    what is larger. Bin b of a categorical feature holds the category of number b.

    Args:
        values: float32 [bins], the edges of all features, one feature after the other, ascending.
        pointers: int64 [features + 1]; the edges of f are ``values[pointers[f]:pointers[f + 1]]``; at least one.
        minimums: float32 [features], a number below all values of the feature; 0 where it is categorical.
        categorical: bool [features].
    Raises:
        ModelError: the arrays do not fit each other, or edges do not ascend.
    """

    values: npt.NDArray[np.float32]
    pointers: npt.NDArray[np.int64]
    minimums: npt.NDArray[np.float32]
    categorical: npt.NDArray[np.bool_]

    def __post_init__(self) -> None:
        for name, kind in (("values", "f4"), ("pointers", "i8"), ("minimums", "f4"), ("categorical", "?")):
            array = np.ascontiguousarray(getattr(self, name), kind)
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        features = len(self.pointers) - 1
        fits = (
            features >= 0
            and len(self.minimums) == len(self.categorical) == features
            and self.pointers[0] == 0
            and self.pointers[-1] == len(self.values)
            and bool((np.diff(self.pointers) > 0).all())
        )
        if not fits:
            raise ModelError("cuts need an edge or more for each feature, and pointers, minimums and kinds that fit")
        inside = np.ones(len(self.values), bool)
        inside[self.pointers[:-1]] = False
        if not bool((np.diff(self.values)[inside[1:]] > 0).all()):
            raise ModelError("the edges of a feature must ascend")

    @property
    def features(self) -> int:
        """Number of features."""
        return len(self.pointers) - 1

    @property
    def bins(self) -> int:
        """Number of bins of all features together: the length of a histogram."""
        return len(self.values)

    @cached_property
    def most_categories(self) -> int:
        """The largest number of categories of a feature; 0 if none is categorical."""
        return int(np.diff(self.pointers)[self.categorical].max(initial=0))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Cuts):
            return NotImplemented
        return all(np.array_equal(mine, theirs) for mine, theirs in zip(self._arrays(), other._arrays(), strict=True))

    def __hash__(self) -> int:
        return hash(tuple(array.tobytes() for array in self._arrays()))

    def _arrays(self) -> tuple[npt.NDArray[Any], ...]:
        return self.values, self.pointers, self.minimums, self.categorical

    def edges(self, feature: int) -> npt.NDArray[np.float32]:
        """Return the edges of one feature."""
        return self.values[self.pointers[feature] : self.pointers[feature + 1]]

    def search(self, feature: int, column: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
        """Return the bin of each value within its feature, -1 where the value is NaN.

        Raises:
            ModelError: a category is negative, no integer, or has no bin.
        """
        edges = self.edges(feature)
        column = np.asarray(column, np.float32)
        if self.categorical[feature]:
            missing = np.isnan(column)
            present = column[~missing]
            if not bool(((present >= 0) & (present < len(edges)) & (present == np.floor(present))).all()):
                raise ModelError(f"feature {feature} has categories 0 to {len(edges) - 1}; the data has others")
            bins = np.where(missing, -1, column).astype(np.int64)
        else:
            bins = np.empty(len(column), np.int64)
            _search(edges, np.ascontiguousarray(column), bins)
        return bins

    @classmethod
    def from_xgboost(
        cls,
        pointers: npt.ArrayLike,
        values: npt.ArrayLike,
        categorical: Sequence[bool] | npt.NDArray[np.bool_] | None = None,
    ) -> Cuts:
        """Take over the cuts of ``xgboost.DMatrix.get_quantile_cut()``.

        Args:
            pointers: its first array.
            values: its second; each numeric feature begins with its minimum.
            categorical: which features are categorical; none: no feature is.
        """
        ends = np.asarray(pointers, np.int64)
        flags = np.zeros(len(ends) - 1, bool) if categorical is None else np.asarray(categorical, bool)
        numbers = np.asarray(values, np.float32)
        minimums = np.where(flags, np.float32(0), numbers[ends[:-1]])
        keep = np.ones(len(numbers), bool)
        keep[ends[:-1][~flags]] = False
        sizes = np.diff(ends) - ~flags
        return cls(numbers[keep], np.concatenate([[0], np.cumsum(sizes)]), minimums, flags)

    @classmethod
    def from_edges(cls, edges: Sequence[tuple[npt.ArrayLike, float] | int]) -> Cuts:
        """Make cuts of one entry for each feature.

        Args:
            edges: (edges, minimum) of a numeric feature, as from ``numeric_edges``; for a categorical one the number
                of its categories.
        """
        values = [
            np.arange(max(one, 1), dtype=np.float32) if isinstance(one, int) else np.asarray(one[0], np.float32)
            for one in edges
        ]
        return cls(
            np.concatenate([np.empty(0, np.float32), *values]),
            np.concatenate([[0], np.cumsum([len(one) for one in values], dtype=np.int64)]),
            np.array([0 if isinstance(one, int) else one[1] for one in edges], np.float32),
            np.array([isinstance(one, int) for one in edges], bool),
        )

    @classmethod
    def from_data(
        cls,
        data: npt.NDArray[np.float32],
        max_bin: int,
        categorical: Sequence[bool] | npt.NDArray[np.bool_] | None = None,
        weights: npt.NDArray[np.float32] | None = None,
        threads: Threads | None = None,
    ) -> Cuts:
        """Make cuts from all rows.

        They are XGBoost's own where a feature has at most ``max_bin`` distinct values. Where it has more, edges lie at
        exact quantiles, where XGBoost approximates them.

        Args:
            data: float32 [rows, features], NaN missing.
            max_bin: the most bins of a numeric feature.
            categorical: which features are categorical; none: no feature is.
            weights: float32 [rows]; quantiles are of the weight.
            threads: shares the features.
        Raises:
            ModelError: a value is infinite, or a category is negative or no integer.
        """
        features = data.shape[1]
        flags = np.zeros(features, bool) if categorical is None else np.asarray(categorical, bool)

        def of_feature(feature: int) -> tuple[npt.ArrayLike, float] | int:
            column = np.asarray(data[:, feature], np.float32)
            present = ~np.isnan(column)
            column = column[present]
            if bool(np.isinf(column).any()):
                raise ModelError(f"feature {feature} has an infinite value; replace it by a number or NaN")
            if not flags[feature]:
                distinct, amount = _amounts(column, None if weights is None else weights[present])
                return numeric_edges(distinct, amount, max_bin)
            top = float(column.max(initial=0))
            if bool((column < 0).any()) or top >= _MOST_CATEGORIES or bool((column % 1).any()):
                raise ModelError(
                    f"categories are integers from 0 to {_MOST_CATEGORIES - 1}; feature {feature} has others"
                )
            return int(top) + 1

        return cls.from_edges((threads or Threads(1)).map(of_feature, range(features)))


@kernel
def _search(edges: npt.NDArray[np.float32], column: npt.NDArray[np.float32], bins: npt.NDArray[np.int64]) -> None:
    """Search each value by halves, without a branch that could be mispredicted; unsigned indices are faster."""
    one, last = np.uint64(1), np.int64(len(edges) - 1)
    for at in range(np.uint64(len(column))):
        value, low, length = column[at], np.uint64(0), np.uint64(len(edges))
        while length > one:
            half = length >> one
            low += half * np.uint64(edges[low + half - one] <= value)
            length -= half
        low += np.uint64(edges[low] <= value)
        bins[at] = -1 if np.isnan(value) else min(np.int64(low), last)


def _amounts(
    column: npt.NDArray[np.float32], weights: npt.NDArray[np.float32] | None
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """Return the distinct values, ascending, and the number or weight of the rows of each."""
    if weights is None:
        distinct, counts = np.unique(column, return_counts=True)
        return distinct, counts.astype(np.float64)
    column, weights = column[weights > 0], weights[weights > 0]  # as XGBoost does
    distinct, which = np.unique(column, return_inverse=True)
    return distinct, np.bincount(which, weights, len(distinct)).astype(np.float64)


def numeric_edges(
    distinct: npt.NDArray[np.float32], amount: npt.NDArray[np.float64], max_bin: int
) -> tuple[npt.NDArray[np.float32], float]:
    """Return the edges and the minimum of a numeric feature by XGBoost's rule.

    Every distinct value but the smallest is an edge if there are at most ``max_bin``; otherwise those whose ranks are
    nearest to ``max_bin`` equal parts of the weight. One more edge lies above all values.

    Args:
        distinct: float32, ascending; may be empty.
        amount: float64, the weight of the rows of each.
        max_bin: the most bins.
    """
    if not len(distinct):
        return np.array([3 * _GAP], np.float32), _GAP
    distinct = distinct + np.float32(0)  # -0.0 becomes 0.0
    if len(distinct) > max_bin:
        distinct = distinct[_pruned(amount, max_bin + 1)]
    smallest, largest = float(distinct[0]), float(distinct[-1])  # what follows is rounded once
    with np.errstate(over="ignore"):
        minimum = np.float32(smallest - abs(smallest) - _GAP)
        last = np.float32(largest + (abs(largest) + _GAP))
    return np.append(distinct[1:max_bin], last), float(minimum)


def _pruned(amount: npt.NDArray[np.float64], size: int) -> npt.NDArray[np.int64]:
    """Return the entries of an exact summary to keep: the ends, and those nearest to equally spaced ranks."""
    upper = np.cumsum(amount)  # largest rank of each value
    lower = upper - amount
    middle = lower + upper
    first, last = upper[0], lower[-1]
    wanted = 2 * (np.arange(1, size - 1) * (last - first) / (size - 1) + first)
    after = np.searchsorted(middle[1:], wanted, side="right")  # the entry whose successor's middle lies beyond
    after = np.clip(after, 1, len(amount) - 1)
    inside = after < len(amount) - 1
    after = after[inside]
    nearer = wanted[inside] >= upper[after] + lower[np.minimum(after + 1, len(amount) - 1)]
    return np.unique(np.concatenate([[0], after + nearer, [len(amount) - 1]]))

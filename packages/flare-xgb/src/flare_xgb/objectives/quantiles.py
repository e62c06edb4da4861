"""XGBoost's rules for the quantiles of numbers, expressed by ranks.

A rank is a place in the sorted numbers, from 0. With ranks, a quantile of the numbers of many sites can be found from
counts alone, and is the same for any deal of the numbers.

Without weights a quantile lies between two neighbours in order (definition 6 of Hyndman and Fan 1996, "Sample quantiles
in statistical packages"). With weights it is the least number up to which the weights add up to the share ``alpha``.
Weights are counted as whole multiples of a unit, a power of two so small that their sum is nearly 2⁶², hence weights of
similar size without an error. XGBoost adds them up in float32 instead, row by row, which depends on the order of rows;
it may choose a neighbour if the share is reached within the error of that sum.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flare_xgb.objectives.base import Float32s


def ranks_of(count: int, alpha: float) -> tuple[int, int, float]:
    """Return the ranks of two neighbours, and how far the quantile is on the way between, for ``count`` ≥ 1 numbers."""
    if alpha <= 1 / (count + 1):
        return 0, 0, 0.0
    if alpha >= count / (count + 1):
        return count - 1, count - 1, 0.0
    place = alpha * (count + 1)
    low = math.floor(place) - 1
    return low, low + 1, (place - 1) - low


def between(low: Float32s, high: Float32s, fraction: NDArray[np.float64] | float) -> Float32s:
    """Return the quantiles of pairs of neighbours."""
    return np.asarray(low + np.float64(1) * fraction * (high - low), np.float32)


def unit_of(largest: float, rows: int) -> float:
    """Return the unit of weights, given the largest of all rows and the number of all rows."""
    if largest <= 0:
        return 1.0
    return math.ldexp(1.0, math.frexp(largest)[1] + max(rows, 1).bit_length() - 62)


def in_units(weights: Float32s, unit: float) -> NDArray[np.int64]:
    """Return weights as multiples of the unit, rounded."""
    return np.rint(weights.astype(np.float64) / unit).astype(np.int64)


def weighted_rank(total: int, unit: float, alpha: float) -> int:
    """Return the rank of the quantile in numbers that each take up as many ranks as their weight has units.

    Args:
        total: of the weights, in units; at least 1.
        unit: of :func:`unit_of`.
        alpha: the share, in [0, 1].
    """
    reached = np.float32(np.float32(total * unit) * alpha)
    # Sums are compared as float32: one that rounds to the share has reached it, which half way is a matter of parity.
    half_way = (float(reached) + float(np.nextafter(reached, np.float32(0)))) / 2 / unit
    least = math.floor(half_way) + 1 if reached.view(np.int32) & 1 else math.ceil(half_way)
    return min(max(least, 1), total) - 1


def quantiles_by_group(
    values: Float32s,
    groups: NDArray[np.integer],
    num_groups: int,
    alpha: float,
    weights: Float32s | None = None,
    unit: float | None = None,
) -> Float32s:
    """Return the quantile of the numbers of each group, (num_groups,); NaN for a group without numbers or weight.

    Args:
        values: (n,).
        groups: (n,), the group of each number, such as the leaf of a row; numbers of groups below 0 do not count.
        num_groups: the number of groups.
        alpha: in [0, 1].
        weights: (n,), or None.
        unit: of the weights; by default what suits all that are given.
    """
    kept = np.flatnonzero(groups >= 0)
    order = kept[np.lexsort((values[kept], groups[kept]))]
    starts = np.searchsorted(groups[order], np.arange(num_groups + 1))
    ordered, out = values[order], np.full(num_groups, np.nan, np.float32)
    if weights is None:
        filled = np.flatnonzero(np.diff(starts))
        ranks = [ranks_of(int(count), alpha) for count in np.diff(starts)[filled]]
        low, high, fraction = np.array(ranks, np.float64).reshape(-1, 3).T
        firsts = starts[filled]
        out[filled] = between(ordered[firsts + low.astype(int)], ordered[firsts + high.astype(int)], fraction)
        return out
    if unit is None:
        unit = unit_of(float(weights.max(initial=0)), len(weights))
    sums = np.concatenate(([0], np.cumsum(in_units(weights[order], unit))))
    totals = sums[starts[1:]] - sums[starts[:-1]]
    filled = np.flatnonzero(totals)
    ranks_ = np.array([weighted_rank(int(total), unit, alpha) for total in totals[filled]], np.int64)
    out[filled] = ordered[np.searchsorted(sums, sums[starts[filled]] + ranks_, side="right") - 1]
    return out

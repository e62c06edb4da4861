"""Kernels of ranking losses: pairs within each group."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from flare_xgb._jit import kernel

PAIRWISE, NDCG, MAP = 0, 1, 2
_ONE, _LARGEST = np.float32(1), np.float32(88.7)


@kernel
def lambda_gradients(
    margins: Any,
    label: Any,
    starts: Any,
    weights: Any,
    weight_scale: Any,
    kind: int,
    gain: Any,
    discount: Any,
    scale_of_group: Any,
    num_pairs: int,
    is_top: bool,
    is_normalized: bool,
    is_score_normalized: bool,
    round: int,
) -> Any:
    """Return the gradients of all rows, (n,) each.

    Args:
        margins, label: (n,).
        starts: (groups + 1,).
        weights: (groups,), which ``weight_scale`` multiplies.
        kind: how pairs are weighed.
        gain: (n,), of each row, if NDCG.
        discount: of each place, if NDCG.
        scale_of_group: (groups,), if NDCG.
        num_pairs: the leading rows that are compared with all, if ``is_top``; else the pairs drawn for each row.
        is_top: pairs are not drawn.
        is_normalized: scale the gradients of each group.
        is_score_normalized: divide a pair's weight by the difference of its margins.
        round: a part of the seed.
    """
    gradient, hessian = np.zeros_like(margins), np.zeros_like(margins)
    groups = len(starts) - 1
    for group in range(groups):
        low, high = starts[group], starts[group + 1]
        n = high - low
        if n == 0:
            continue
        rank = np.argsort(-margins[low:high], kind="mergesort")
        ranked_label, ranked_margin = label[low:high][rank], margins[low:high][rank]
        ranked_gain = gain[low:high][rank]
        relevant, precision = _cumulative(ranked_label)
        g, h = np.zeros(n, np.float32), np.zeros(n, np.float32)
        first, second = _top(n, num_pairs) if is_top else _drawn(ranked_label, num_pairs, round, groups, group)
        sum_of_lambdas = 0.0
        for pair in range(len(first)):
            i, j = first[pair], second[pair]
            if ranked_label[i] == ranked_label[j]:
                continue
            if ranked_label[i] < ranked_label[j]:
                i, j = j, i
            difference = ranked_margin[i] - ranked_margin[j]
            sigmoid = np.float64(_ONE / (np.float32(math.exp(min(-difference, _LARGEST))) + _ONE))
            if kind == NDCG:
                original = ranked_gain[i] * discount[i] + ranked_gain[j] * discount[j]
                swapped = ranked_gain[j] * discount[i] + ranked_gain[i] * discount[j]
                change = abs((original - swapped) * scale_of_group[group])
            elif kind == MAP:
                change = abs(_change_of_precision(ranked_label, relevant, precision, i, j))
            else:
                change = 1.0
            if is_score_normalized and ranked_margin[0] != ranked_margin[n - 1]:
                change /= np.float64(abs(difference)) + 0.01
            lambda_ = np.float32((sigmoid - 1.0) * change)
            curvature = np.float32(max(sigmoid * (1.0 - sigmoid), 1e-16) * change * 2.0)
            g[i] += lambda_
            h[i] += curvature
            g[j] -= lambda_
            h[j] += curvature
            sum_of_lambdas += -2.0 * np.float64(lambda_)
        norm = 1.0
        if is_normalized and not is_top:
            norm = 1.0 / num_pairs
        elif is_normalized and sum_of_lambdas > 0.0:
            norm = math.log2(1.0 + sum_of_lambdas) / sum_of_lambdas
        for i in range(n):
            row = low + rank[i]
            gradient[row] = g[i] * np.float32(norm) * weights[group] * weight_scale
            hessian[row] = h[i] * np.float32(norm) * weights[group] * weight_scale
    return gradient, hessian


@kernel
def _cumulative(ranked_label: Any) -> Any:
    """Return the number of relevant rows up to each place, and the sum of their labels by place."""
    n = len(ranked_label)
    relevant, precision = np.zeros(n), np.zeros(n)
    count = at_place = 0.0
    for i in range(n):
        count += np.float64(ranked_label[i])
        at_place += np.float64(ranked_label[i]) / (i + 1)
        relevant[i], precision[i] = count, at_place
    return relevant, precision


@kernel
def _change_of_precision(ranked_label: Any, relevant: Any, precision: Any, i: int, j: int) -> float:
    """Return what a swap of two places changes in the average precision."""
    high, low = min(i, j), max(i, j)
    between = precision[low - 1] - precision[high]
    if ranked_label[high] < ranked_label[low]:
        change = relevant[low] / (low + 1.0) - (relevant[high] + 1.0) / (high + 1.0) - between
    else:
        change = relevant[high] / (high + 1.0) - relevant[low] / (low + 1.0) + between
    return np.float64(change / relevant[-1])


@kernel
def _top(n: int, num_pairs: int) -> Any:
    """Return the pairs of places of which the first is a leading one and the second comes later."""
    leading = min(n, num_pairs)
    count = leading * n - leading * (leading + 1) // 2
    first, second = np.empty(count, np.int64), np.empty(count, np.int64)
    at = 0
    for i in range(leading):
        for j in range(i + 1, n):
            first[at], second[at] = i, j
            at += 1
    return first, second


@kernel
def _drawn(ranked_label: Any, num_pairs: int, round: int, groups: int, group: int) -> Any:
    """Return for each place some others with another label, drawn as C++ would.

    The generator is the C++ standard's ``minstd_rand`` (Park, Miller and Stockmeyer 1993), and numbers up to a limit
    are made of its numbers as libstdc++ does, by rejection.
    """
    n = len(ranked_label)
    order = np.argsort(-ranked_label, kind="mergesort")
    first, second = np.empty(n * num_pairs, np.int64), np.empty(n * num_pairs, np.int64)
    state = ((round + 1) * groups + group) % 2**32 % 2147483647
    if state == 0:
        state = 1
    at = low = 0
    while low < n:
        high = low + 1
        while high < n and ranked_label[order[high]] == ranked_label[order[low]]:
            high += 1
        others = n - (high - low)
        if others:
            width = 2147483645 // others
            for _ in range(num_pairs):
                for place in range(low, high):
                    state = state * 48271 % 2147483647
                    while state - 1 >= width * others:
                        state = state * 48271 % 2147483647
                    other = (state - 1) // width
                    if other >= low:
                        other += high - low
                    first[at], second[at] = order[place], order[other]
                    at += 1
        low = high
    return first[:at], second[:at]

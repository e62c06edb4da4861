"""Histograms of gradients: exact sums of integers, the same for any number of threads."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from flare_xgb._jit import kernel
from flare_xgb.engine.binned import BinnedMatrix
from flare_xgb.engine.threads import Threads

_ROWS_WORTH_A_TASK = 4096


def histograms(
    binned: BinnedMatrix,
    pairs: npt.NDArray[np.int64],
    nodes: Sequence[npt.NDArray[np.int32]],
    threads: Threads,
) -> list[npt.NDArray[np.int64]]:
    """Return the histogram of each node.

    Args:
        binned: the bins of all rows.
        pairs: int64 [rows, 2], gradient and Hessian of each row, from ``FixedPoint.encode``.
        nodes: the rows of each node.
        threads: shares the work.
    Returns:
        int64 [bins, 2] for each node: the sums over its rows that are in each bin, features one after the other. Rows
        where a feature is missing are in none of its bins.
    """
    features = len(binned.sizes)
    ends = np.concatenate([[0], np.cumsum(binned.sizes)])
    starts = ends + np.arange(features + 1) if binned.any_missing else ends  # one more place for the missing
    wide = [np.zeros((int(starts[-1]), 2), np.int64) for _ in nodes]
    total = sum(len(rows) for rows in nodes)
    tasks = []
    for rows, out in zip(nodes, wide, strict=True):
        parts = 1
        if total:
            parts = min(features, round(threads.count * len(rows) / total), len(rows) // _ROWS_WORTH_A_TASK)
        edges = np.linspace(0, features, max(parts, 1) + 1).astype(np.int64)
        tasks += [(rows, out, int(low), int(high)) for low, high in pairwise(edges)]
    tasks.sort(key=lambda task: -len(task[0]) * (task[3] - task[2]))
    threads.map(lambda task: _add(binned.codes, pairs, task[0], starts, task[2], task[3], task[1]), tasks)
    if not binned.any_missing:
        return wide
    return threads.map(lambda one: _without_missing(one, starts, ends), wide)


@kernel
def _add(
    codes: npt.NDArray[np.unsignedinteger],
    pairs: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int32],
    starts: npt.NDArray[np.int64],
    low: int,
    high: int,
    out: npt.NDArray[np.int64],
) -> None:
    # Unsigned indices, as a signed one costs a test of whether it counts from the end.
    first, after = np.uint64(low), np.uint64(high)
    for at in range(len(rows)):
        row = np.uint64(rows[at])
        gradient, hessian = pairs[row, 0], pairs[row, 1]
        for feature in range(first, after):
            slot = np.uint64(starts[feature]) + np.uint64(codes[row, feature])
            out[slot, 0] += gradient
            out[slot, 1] += hessian


@kernel
def _without_missing(
    wide: npt.NDArray[np.int64], starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    out = np.empty((ends[-1], 2), np.int64)
    for feature in range(len(ends) - 1):
        size = ends[feature + 1] - ends[feature]
        out[ends[feature] : ends[feature + 1]] = wide[starts[feature] : starts[feature] + size]
    return out

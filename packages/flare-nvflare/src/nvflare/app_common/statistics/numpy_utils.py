"""Statistics of arrays, for generators of statistics."""

from __future__ import annotations

from typing import Any

import numpy as np

from flare_stats.spec import Bin, BinRange, DataType


def dtype_to_data_type(dtype: Any) -> DataType:
    """Return the kind of values of a dtype of NumPy or pandas; truth values count as integers."""
    kind = getattr(dtype, "kind", "O")
    kinds = {"f": DataType.FLOAT, "i": DataType.INT, "u": DataType.INT, "b": DataType.INT}
    return kinds.get(kind) or (DataType.DATETIME if kind in "mM" else DataType.STRING)


def get_std_histogram_buckets(nums: np.ndarray[Any, Any], num_bins: int = 10, br: BinRange | None = None) -> list[Bin]:
    """Return the numbers of values in bins of equal width; infinite values are in the first and the last bin.

    Args:
        nums: the values.
        num_bins: the number of bins.
        br: the range of the bins; by default that of the finite values.
    """
    finite = nums[np.isfinite(nums)]
    counts, edges = np.histogram(finite, bins=num_bins, range=None if br is None else (br.min_value, br.max_value))
    low, high = [float(each) for each in edges[:-1]], [float(each) for each in edges[1:]]
    numbers = [int(each) for each in counts]
    if below := int(np.isneginf(nums).sum()):
        low[0], numbers[0] = float("-inf"), numbers[0] + below
    if above := int(np.isposinf(nums).sum()):
        high[-1], numbers[-1] = float("inf"), numbers[-1] + above
    return [Bin(*each) for each in zip(low, high, numbers, strict=True)]

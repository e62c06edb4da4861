"""Sums beyond the range of a model's dtype: counters saturate, and narrow floats are refused by name."""

from __future__ import annotations

import numpy as np
import pytest

from flare_core import FLModel, ParamsType, Reply, WeightedMean, updated
from flare_core.errors import NonFiniteError
from flare_core.staleness import rebased


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.int32, np.int64, np.uint64])
@pytest.mark.parametrize("transfer", list(ParamsType))
def test_a_late_count_does_not_wrap_around(dtype, transfer):
    largest = np.iinfo(dtype).max
    old, now = np.array([0, largest // 2], dtype), np.array([largest, 0], dtype)
    made = np.array([largest // 2, 0], dtype)  # from the old one: half up, half down
    difference = made.astype(object) - old.astype(object)
    params = {"n": made} if transfer is ParamsType.FULL else {"n": difference.astype(np.int64)}
    model = FLModel(params=params, params_type=transfer)
    reply = Reply("site-1", "train", model, 0, FLModel(params={"n": old}))
    mean = WeightedMean()
    mean.add(rebased(reply, FLModel(params={"n": now}), 1.0))
    found = mean.update(FLModel(params={"n": now})).params["n"]
    assert found.dtype == dtype
    wanted = [largest, 0 if dtype in (np.uint8, np.uint64) else -(largest // 2)]
    np.testing.assert_allclose(found.astype(np.float64), wanted, rtol=1e-15)


def test_a_difference_that_exceeds_half_precision_is_named():
    model = FLModel(params={"w": np.array([60000, 1], np.float16)})
    difference = FLModel(params={"w": np.array([10000, 1], np.float16)}, params_type=ParamsType.DIFF)
    with pytest.raises(NonFiniteError, match="'w': the update exceeds the range of float16"):
        updated(model, difference)

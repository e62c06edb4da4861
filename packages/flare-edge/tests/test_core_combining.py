"""New params from updates: dtypes, server optimizers with momentum across versions, and refusals."""

from __future__ import annotations

import numpy as np
import pytest

from flare_core.optimizers import SGD
from flare_edge.errors import EdgeError
from flare_edge.fedbuff import NewVersion, combined
from flare_edge.fixed_point import Scale
from flare_edge.messages import VersionSum

SCALE = Scale.for_norm(16.0)


def version(number, **updates):
    """Return a version of one device's update."""
    update = {name: np.asarray(value, np.float64) for name, value in updates.items()}
    return NewVersion(number, {number - 1: VersionSum(SCALE.encode(update, 1), 1, 1)}, {number - 1: 1.0})


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_params_keep_their_dtypes_and_shapes(dtype):
    params = {"w": np.ones((2, 3), dtype), "bias": np.asarray(2, dtype), "frozen": np.arange(3)}
    changed = combined(version(1, w=np.full((2, 3), 0.5), bias=-1.0), SCALE, params, 0.5)
    assert {name: (value.dtype, value.shape) for name, value in changed.items()} == {
        "w": (dtype, (2, 3)),
        "bias": (dtype, ()),
        "frozen": (np.arange(3).dtype, (3,)),
    }
    assert changed["w"].tolist() == np.full((2, 3), 1.25).tolist()
    assert changed["bias"].tolist() == 1.5
    assert params["w"].tolist() == np.ones((2, 3)).tolist()


def test_counters_are_rounded_to_the_nearest():
    assert combined(version(1, seen=2.5), SCALE, {"seen": np.int32(7)}, 1.0)["seen"].tolist() == 10  # 9.5, ties to even


def test_momentum_goes_on_from_version_to_version():
    optimizer = SGD(lr=1.0, momentum=0.5)
    params = {"w": np.zeros(1, np.float32)}
    for number, expected in [(1, 1.0), (2, 1.0 + 1.5), (3, 1.0 + 1.5 + 1.75)]:
        params = combined(version(number, w=[1.0]), SCALE, params, 1.0, optimizer)
        assert params["w"].tolist() == [expected]


@pytest.mark.parametrize(
    ("update", "message"),
    [
        ({"other": [1.0]}, "devices sent 'other' with shape \\(1,\\), but the model has no such parameter"),
        ({"w": [1.0, 2.0]}, "devices sent 'w' with shape \\(2,\\), but the model has shape \\(1,\\)"),
    ],
)
def test_updates_that_do_not_fit_the_model_are_refused(update, message):
    with pytest.raises(EdgeError, match=message):
        combined(version(1, **update), SCALE, {"w": np.zeros(1)}, 1.0)


def test_a_model_that_would_not_be_finite_is_refused():
    with pytest.raises(EdgeError, match="'w' of version 1 is not finite; lower global_lr"):
        combined(version(1, w=[16.0]), SCALE, {"w": np.float16([60000])}, 1000.0)

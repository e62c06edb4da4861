from __future__ import annotations

import numpy as np
import pytest

from flare_core.model import FLModel
from flare_fobs import DecodeError, EncodeError, LimitError, Limits, _limits, dump_frames, dumps, load_frames, loads

RAISED = Limits(max_depth=200, max_items=10**7)


def nested(make, depth):
    value = make([])
    for _ in range(depth - 1):
        value = make([value])
    return value


def as_dict(items):
    return dict(enumerate(items))


def as_model(items):
    """Two levels: the model and its meta."""
    return FLModel(meta=as_dict(items))


CONTAINERS = [(list, 1), (tuple, 1), (as_dict, 1), (as_model, 2)]


@pytest.fixture(params=["c", "python"])
def any_msgpack(request, monkeypatch):
    """The depth is found by msgpack's C code, or, where that is not as expected, by reading with hooks."""
    if request.param == "python":
        monkeypatch.setattr(_limits, "_has_known_stack", lambda: False)
    elif not _limits._has_known_stack():
        pytest.skip("msgpack without its C code")


@pytest.mark.usefixtures("any_msgpack")
@pytest.mark.parametrize(("make", "levels"), CONTAINERS)
def test_64_levels_travel_and_one_more_is_refused_on_both_sides(make, levels):
    fits = nested(make, 64 // levels)
    loads(dumps(fits))
    deeper = [fits]
    with pytest.raises(LimitError, match="deeper than 64 levels"):
        dumps(deeper)
    with pytest.raises(LimitError, match="deeper than 64 levels"):
        loads(dumps(deeper, limits=RAISED))
    loads(dumps(deeper, limits=RAISED), limits=RAISED)


@pytest.mark.usefixtures("any_msgpack")
@pytest.mark.parametrize("depth", [1, 2, 5, 500])
def test_any_depth_can_be_the_limit(depth):
    limits = Limits(max_depth=depth)
    value = nested(list, depth)
    assert loads(dumps(value, limits=limits), limits=limits) == value
    with pytest.raises(LimitError):
        dumps([value], limits=limits)


@pytest.mark.usefixtures("any_msgpack")
def test_many_containers_beside_each_other_are_not_deep():
    value = [{"i": [index, "é" * 5]} for index in range(1000)]
    assert loads(dumps(value)) == value


@pytest.mark.usefixtures("any_msgpack")
@pytest.mark.parametrize("make", [list, as_dict])
def test_the_deepest_that_fits_does_so_beside_many_others(make):
    beside = [[]] * 100  # enough bytes that open a container for the depth to be looked at
    fits = make([nested(make, 4), *beside])
    limits = Limits(max_depth=5)
    assert loads(dumps(fits, limits=limits), limits=limits) == fits
    with pytest.raises(LimitError, match="deeper than 5 levels"):
        loads(dumps([fits]), limits=limits)


@pytest.mark.usefixtures("any_msgpack")
def test_bytes_that_look_like_containers_have_no_depth():
    value = b"\x90" * 1000
    limits = Limits(max_depth=1)
    assert loads(dumps(value, limits=limits), limits=limits) == value


def test_metadata_above_the_limit_is_refused_on_both_sides():
    value = "x" * 1000
    data = dumps(value)
    fits = Limits(max_bytes=1003)
    assert loads(dumps(value, limits=fits), limits=fits) == value
    tight = Limits(max_bytes=1000)
    with pytest.raises(LimitError, match="1003 bytes, the limit is 1000"):
        dumps(value, limits=tight)
    with pytest.raises(LimitError, match="1003 bytes, the limit is 1000"):
        loads(data, limits=tight)


def test_large_arrays_do_not_count_as_metadata():
    array = np.zeros(10_000)
    limits = Limits(max_bytes=100)
    assert loads(dumps(array, limits=limits), limits=limits).nbytes == 80_000


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (list(range(500)), 500),
        (dict.fromkeys(range(500)), 500),
        ([[]] * 499, 500),
        ([["abc"] * 10] * 40, 440),
        ([{"a": 1}] * 250, 500),
    ],
    ids=["values", "entries", "containers", "nested values", "nested entries"],
)
def test_values_and_containers_are_counted_on_both_sides(value, count):
    dumps(value, limits=Limits(max_items=count))
    assert loads(dumps(value), limits=Limits(max_items=count)) == value
    tight = Limits(max_items=count - 1)
    with pytest.raises(LimitError, match=f"more than {count - 1} values"):
        dumps(value, limits=tight)
    with pytest.raises(LimitError, match=f"more than {count - 1} values"):
        loads(dumps(value), limits=tight)


@pytest.mark.parametrize("wrong", [{"max_bytes": 0}, {"max_depth": -1}, {"max_items": 0}, {"max_depth": 501}])
def test_limits_that_make_no_sense_are_refused(wrong):
    with pytest.raises(LimitError, match=next(iter(wrong))):
        Limits(**wrong)


def test_handlers_of_either_direction_see_a_limit():
    assert issubclass(LimitError, EncodeError)
    assert issubclass(LimitError, DecodeError)


def test_frames_have_the_same_limits():
    with pytest.raises(LimitError):
        load_frames(dump_frames(nested(list, 64)), limits=Limits(max_depth=63))

from __future__ import annotations

import msgpack
import pytest

from flare_core.model import FLModel
from flare_fobs import DecodeError, EncodeError, LimitError, dump_frames, dumps, load_frames, loads

MAX_BYTES = 64 * 2**20
MAX_ITEMS = 1_000_000


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


@pytest.mark.parametrize(("make", "levels"), [(list, 1), (tuple, 1), (as_dict, 1), (as_model, 2)])
def test_64_levels_travel_and_one_more_is_refused(make, levels):
    fits = nested(make, 64 // levels)
    loads(dumps(fits))
    with pytest.raises(LimitError, match="deeper than 64 levels"):
        dumps([fits])


@pytest.mark.parametrize("make", [list, as_dict])
def test_a_reader_refuses_deeper_messages_and_no_others(make):
    load_frames([msgpack.packb(nested(make, 64))])
    for depth in (65, 100, 500):
        with pytest.raises(LimitError, match="deeper than 64 levels"):
            load_frames([msgpack.packb(nested(make, depth))])


def test_many_containers_beside_each_other_are_not_deep():
    value = [{"i": [index, "é" * 5]} for index in range(1000)]
    assert loads(dumps(value)) == value


@pytest.mark.parametrize("make", [list, as_dict])
def test_the_deepest_that_fits_does_so_beside_many_others(make):
    beside = [[]] * 100  # enough bytes that open a container for the depth to be looked at
    fits = make([nested(make, 63), *beside])
    assert loads(dumps(fits)) == fits
    with pytest.raises(LimitError, match="deeper than 64 levels"):
        load_frames([msgpack.packb([fits])])


def test_bytes_that_look_like_containers_have_no_depth():
    value = b"\x90" * 1000
    assert loads(dumps(value)) == value


def test_metadata_above_the_limit_is_refused_on_both_sides():
    header = 5  # of bytes of this length
    fits = bytes(MAX_BYTES - header)
    assert loads(dumps(fits)) == fits
    with pytest.raises(LimitError, match="67108865 bytes, the limit is 67108864"):
        dumps(fits + b"1")
    with pytest.raises(LimitError, match="67108865 bytes, the limit is 67108864"):
        load_frames([msgpack.packb(fits + b"1")])


@pytest.mark.parametrize(
    ("fits", "more"),
    [
        ([0] * MAX_ITEMS, [0] * (MAX_ITEMS + 1)),
        (dict.fromkeys(range(MAX_ITEMS)), dict.fromkeys(range(MAX_ITEMS + 1))),
        ([[]] * (MAX_ITEMS - 1), [[]] * MAX_ITEMS),
        ([["abc"] * 99] * 10_000, [["abc"] * 100] * 10_000),
        ([{"a": 1}] * 500_000, [{"a": 1}] * 500_001),
    ],
    ids=["values", "entries", "containers", "nested values", "nested entries"],
)
def test_values_and_containers_are_counted_on_both_sides(fits, more):
    assert loads(dumps(fits)) == fits
    with pytest.raises(LimitError, match="more than 1000000 values"):
        dumps(more)
    with pytest.raises(LimitError, match="more than 1000000 values"):
        load_frames([msgpack.packb(more)])


def test_handlers_of_either_direction_see_a_limit():
    assert issubclass(LimitError, EncodeError)
    assert issubclass(LimitError, DecodeError)


def test_frames_have_the_same_limits():
    with pytest.raises(LimitError):
        dump_frames(nested(list, 65))

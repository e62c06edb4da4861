"""Objects that can travel, and what it means that one arrived unchanged."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from datetime import UTC, timedelta, timezone
from decimal import Decimal
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from flare_core.model import FLModel, ParamsType
from flare_core.task import Task

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
zones = st.timedeltas(min_value=timedelta(hours=-23), max_value=timedelta(hours=23)).map(timezone) | st.just(UTC)
maybe_zone = st.none() | zones

plain = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | text
    | st.binary(max_size=40)
)
standard_library = (
    st.complex_numbers()
    | st.datetimes(timezones=maybe_zone)
    | st.dates()
    | st.times(timezones=maybe_zone)
    | st.timedeltas()
    | zones
    | st.decimals().filter(lambda number: not number.is_snan())  # it cannot be a key
    | st.uuids()
    | text.map(PurePosixPath)
    | text.map(PureWindowsPath)
)
dtypes = (
    hnp.boolean_dtypes()
    | hnp.integer_dtypes(endianness="?")
    | hnp.unsigned_integer_dtypes(endianness="?")
    | hnp.floating_dtypes(endianness="?", sizes=(16, 32, 64))
    | hnp.complex_number_dtypes(endianness="?", sizes=(64, 128))
    | hnp.datetime64_dtypes(endianness="?")
    | hnp.timedelta64_dtypes(endianness="?")
    | hnp.unicode_string_dtypes(endianness="?", min_len=1, max_len=8)
    | hnp.byte_string_dtypes(endianness="?", min_len=1, max_len=8)
)
shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)


def _raw_array(dtype: np.dtype[Any], shape: tuple[int, ...]) -> st.SearchStrategy[np.ndarray[Any, Any]]:
    """Arrays of any bit pattern: NaN with payload, -0.0, subnormals."""
    size = int(np.prod(shape)) * dtype.itemsize
    return st.binary(min_size=size, max_size=size).map(lambda data: np.ndarray(shape, dtype, bytearray(data)))


numbers = st.sampled_from(["f2", "f4", "f8", ">f4", "i1", ">i8", "u2", "c8", "c16"]).map(np.dtype)
arrays = hnp.arrays(dtypes, shapes) | st.tuples(numbers, shapes).flatmap(lambda pair: _raw_array(*pair))
numpy_scalars = (
    dtypes.map(lambda dtype: dtype.newbyteorder("="))
    .flatmap(lambda dtype: hnp.arrays(dtype, ()).map(lambda array: array[()]))
    .filter(lambda scalar: not isinstance(scalar, str) or scalar.isprintable())
)  # numpy's strings may hold surrogates

_leaves = plain | standard_library | arrays | numpy_scalars
_keys = plain | standard_library


@st.composite
def leaf(draw: st.DrawFn) -> Any:
    """Anything without parts. A function, not a value, because hypothesis writes strategies out in full."""
    return draw(_leaves)


@st.composite
def plain_key(draw: st.DrawFn) -> Any:
    """Anything without parts that can be a key."""
    return draw(_keys)


keys = st.recursive(
    plain_key(), lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3), max_leaves=4
)


def _containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(keys, inner, max_size=4)
        | st.dictionaries(text, inner, max_size=4)
        | st.dictionaries(text, inner, max_size=4).map(OrderedDict)
        | st.sets(keys, max_size=3)
    )


objects = st.recursive(leaf(), _containers, max_leaves=12)
params = st.dictionaries(text, arrays | st.dictionaries(text, arrays, max_size=2), max_size=4)
rounds = st.none() | st.integers(0, 1000)
models = st.builds(
    FLModel,
    params_type=st.sampled_from(ParamsType),
    params=params,
    metrics=st.none() | st.dictionaries(text, st.floats(), max_size=3),
    start_round=rounds,
    current_round=rounds,
    total_rounds=rounds,
    meta=st.dictionaries(text, objects, max_size=3),
)
tasks = st.builds(Task, name=text, data=models, id=st.integers(0, 2**40))


def same(left: Any, right: Any) -> bool:
    """Tell whether two objects have the same types and the same bits, all the way down."""
    if type(left) is not type(right):
        return False
    if isinstance(left, np.ndarray | np.generic):
        return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()
    if isinstance(left, int):
        return left == right
    if isinstance(left, float):
        return np.float64(left).tobytes() == np.float64(right).tobytes()
    if isinstance(left, complex):
        return np.complex128(left).tobytes() == np.complex128(right).tobytes()
    if isinstance(left, Decimal):
        return str(left) == str(right)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return same(list(left.items()), list(right.items()))
    if isinstance(left, set | frozenset):
        # Elements that are equal but not the same, 1.0 and True, cannot be in one set together; NaN is only itself.
        return len(left) == len(right) and sorted(map(_text, left)) == sorted(map(_text, right))
    if dataclasses.is_dataclass(left):
        return all(same(getattr(left, field.name), getattr(right, field.name)) for field in dataclasses.fields(left))
    return bool(left == right) and repr(left) == repr(right)


def _text(value: Any) -> str:
    if isinstance(value, frozenset):
        return str(sorted(map(_text, value)))
    return str(list(map(_text, value))) if isinstance(value, tuple) else f"{type(value).__name__} {value!r}"

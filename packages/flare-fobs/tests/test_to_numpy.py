from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from strategies import dtypes

from flare_fobs import EncodeError, to_numpy
from flare_fobs.dtypes import dtype_from_name, dtype_name
from flare_fobs.errors import DecodeError


def test_a_numpy_array_stays_the_very_object():
    array = np.zeros((2, 3))[:, ::2]
    assert to_numpy(array, key="w") is array


def test_a_numpy_scalar_becomes_an_array_without_dimensions():
    array = to_numpy(np.float32(2), key="w")
    assert (array.shape, array.dtype) == ((), np.float32)


@pytest.mark.parametrize("value", [1.0, [1, 2], "w", None, {"a": np.zeros(1)}, np.ma.array([1])])
def test_anything_else_is_refused_by_its_key(value):
    with pytest.raises(EncodeError, match=r"^'layer\.0': a .* is not an array"):
        to_numpy(value, key="layer.0")


def test_an_array_that_cannot_travel_is_refused_by_its_key():
    with pytest.raises(EncodeError, match=r"^'w': arrays of dtype object cannot be serialized"):
        to_numpy(np.array([1, "a", None], dtype=object), key="w")


@given(dtypes)
def test_a_dtype_is_found_again_under_its_name(dtype):
    found = dtype_from_name(dtype_name(dtype))
    assert found == dtype
    assert found.str == dtype.str


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        ("f4", "float32"),
        ("?", "bool"),
        ("l", "int64"),
        (">u2", ">uint16"),
        (">u1", "uint8"),
        ("M8[25us]", "datetime64[25us]"),
        (">m8[D]", ">timedelta64[D]"),
        ("M8", "datetime64"),
        ("U5", "U5"),
        (">U5", ">U5"),
        ("S7", "S7"),
        (ml_dtypes.bfloat16, "bfloat16"),
        (ml_dtypes.float8_e4m3fn, "float8_e4m3fn"),
        (ml_dtypes.float8_e5m2, "float8_e5m2"),
        (ml_dtypes.float8_e8m0fnu, "float8_e8m0fnu"),
        (ml_dtypes.int4, "int4"),
    ],
    ids=str,
)
def test_names_are_these_and_stay_these(dtype, name):
    assert dtype_name(np.dtype(dtype)) == name
    assert dtype_from_name(name) == np.dtype(dtype)


def test_every_dtype_of_ml_dtypes_has_a_name():
    kinds = [kind for name in dir(ml_dtypes) if isinstance(kind := getattr(ml_dtypes, name), type)]
    scalars = [kind for kind in kinds if issubclass(kind, np.generic)]
    assert len(scalars) > 10
    assert all(dtype_from_name(dtype_name(np.dtype(kind))) == np.dtype(kind) for kind in scalars)


@pytest.mark.parametrize(
    "name",
    [
        *("object", "O", "V8", "void", "i4,f4", "float", "<f4", "f4", "int", "str", "U0", "S0", "U", "datetime64[0s]"),
        *("datetime64[parsec]", ">>float32", ">bfloat16", "U99999999999", "U4000000000", "float8_e9m9", "U\u0665", ""),
        *("U1073741825", "U1073741824", "S2147483648"),
        *("datetime64[s]\n", "longdouble_1_2", "finfo", "ml_dtypes.bfloat16"),
    ],
)
def test_names_that_are_not_in_the_table_are_refused(name):
    with pytest.raises(DecodeError):
        dtype_from_name(name)

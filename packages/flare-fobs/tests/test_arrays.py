from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from strategies import arrays, same

from flare_fobs import dump_frames, dumps, load_frames, loads

INLINE = 4
FRAME = 3000
ALL_DTYPES = [
    *"?bhilqBHILQefdgFDG",
    *(">i2", ">f4", ">c16", "M8[ns]", "M8[25us]", "M8", "m8[D]", ">m8[s]", "U3", ">U3", "S5"),
    *("bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu", "int4"),
]


def dtype_of(name):
    return np.dtype(getattr(ml_dtypes, name)) if hasattr(ml_dtypes, name) else np.dtype(name)


def array_of(name, size):
    dtype = dtype_of(name)
    bits = np.random.default_rng(13).integers(0, 2, size * dtype.itemsize, dtype=np.uint8)
    if dtype.kind == "U":
        return np.array(["aé\U0001f600"] * size, dtype)
    return np.frombuffer(bits.tobytes(), dtype).copy()


@pytest.mark.parametrize("size", [0, 1, INLINE, FRAME])
@pytest.mark.parametrize("name", ALL_DTYPES)
def test_every_dtype_arrives_bit_for_bit(name, size):
    array = array_of(name, size)
    for arrived in (loads(dumps(array)), load_frames(dump_frames(array))):
        assert same(arrived, array)


@pytest.mark.parametrize("name", ["bfloat16", "float8_e4m3fn", "float8_e5m2", "float16", "complex64", "uint16", "int8"])
def test_c13_nan_payloads_negative_zeros_and_subnormals_survive(name):
    dtype = dtype_of(name)
    bits = np.arange(2**16, dtype=np.uint16) if dtype.itemsize == 2 else np.arange(256, dtype=np.uint8)
    array = np.resize(bits, 2**16).view(dtype)
    assert same(loads(dumps({"w": array}))["w"], array)
    assert same(loads(dumps({"w": array[:16]}))["w"], array[:16])


@pytest.mark.parametrize("name", ["float32", "int64", "bool", "bfloat16", "datetime64[us]", ">f8"])
def test_c02_a_scalar_array_keeps_its_empty_shape(name):
    array = array_of(name, 1).reshape(())
    for arrived in (loads(dumps([array]))[0], load_frames(dump_frames([array]))[0]):
        assert arrived.shape == ()
        assert same(arrived, array)


def test_a_large_scalar_array_keeps_its_empty_shape():
    array = np.array("x" * 5000)
    assert same(load_frames(dump_frames(array)), array)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("transposed", np.arange(24.0).reshape(4, 6).T),
        ("fortran", np.asfortranarray(np.arange(6000.0).reshape(60, 100))),
        ("channels last", np.arange(8 * 27.0).reshape(8, 3, 3, 3).transpose(0, 2, 3, 1)),
        ("broadcast", np.broadcast_to(np.ones((1, 4), np.float32), (3000, 4))),
        ("strided", np.arange(9000)[::3]),
        ("reversed", np.arange(10)[::-1]),
        ("unaligned", np.ndarray((700,), np.float64, bytearray(5601), 1)),
        ("read-only", np.frombuffer(bytes(8000), np.float32)),
        ("bfloat16 columns", np.ones((3000, 4), ml_dtypes.bfloat16)[:, 1:3]),
    ],
)
def test_c12_arrays_of_any_memory_layout_arrive_with_their_values(name, array):
    strides = array.strides
    for arrived in (loads(dumps(array)), load_frames(dump_frames(array))):
        assert same(arrived, array)
    assert array.strides == strides


@pytest.mark.parametrize("size", [INLINE, FRAME])
def test_arrays_from_one_string_of_bytes_are_writable_and_own_their_memory(size):
    data = dumps([np.zeros(size), np.zeros(size, ml_dtypes.bfloat16)])
    for array in loads(data):
        array += 1
        assert array.flags.owndata
    assert loads(data)[0].sum() == 0


def test_small_arrays_are_writable_where_their_frame_is_not():
    array = load_frames(dump_frames(np.zeros(3)))
    array += 1
    assert array.flags.aligned


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0, 2)])
def test_an_empty_array_keeps_its_shape(shape):
    assert loads(dumps(np.empty(shape, np.int16))).shape == shape


def test_a_memory_mapped_array_arrives_as_an_array(tmp_path):
    mapped = np.memmap(tmp_path / "x.bin", np.float32, "w+", shape=(2000,))
    mapped[:] = 3
    assert same(loads(dumps(mapped)), np.full(2000, 3, np.float32))


def test_scalars_of_ml_dtypes_arrive_as_themselves():
    value = ml_dtypes.bfloat16(1.5)
    assert same(loads(dumps({"loss": value})), {"loss": value})


def test_c11_two_names_for_one_array_both_arrive():
    weight = np.random.default_rng(0).normal(size=(50, 80))
    arrived = loads(dumps({"emb.weight": weight, "head.weight": weight}))
    assert same(arrived["emb.weight"], weight)
    assert same(arrived["head.weight"], weight)
    arrived["emb.weight"] += 1
    assert same(arrived["head.weight"], weight)


@given(arrays)
def test_a_transposed_array_arrives_as_the_copy_of_it_would(array):
    assert same(loads(dumps(array.T)), array.T.copy())


def test_an_array_of_as_many_dimensions_as_there_can_be_arrives():
    most = getattr(np, "MAXDIMS", 64)
    assert loads(dumps(np.full((1,) * most, 7))).shape == (1,) * most

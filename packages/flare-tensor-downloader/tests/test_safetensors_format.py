"""Files that the safetensors library reads, and the other way round."""

from __future__ import annotations

import json

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as np_st
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from flare_core.model import flatten
from flare_tensor_downloader import SafetensorsError, read_file, write_file

DTYPES = ["?", "u1", "i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "<f2", "<f4", "<f8"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_the_library_reads_what_is_written(tmp_path_factory, data):
    names = data.draw(
        st.lists(st.text(min_size=1, max_size=6).filter(lambda name: name != "__metadata__"), max_size=4, unique=True)
    )
    shapes = np_st.array_shapes(min_dims=0, min_side=0, max_side=4)
    params = {name: data.draw(np_st.arrays(data.draw(st.sampled_from(DTYPES)), shapes)) for name in names}
    path = tmp_path_factory.mktemp("files") / "model.safetensors"
    write_file(path, params)
    for found in (load_file(path), read_file(path)):
        assert found.keys() == params.keys()
        for name, value in params.items():
            assert found[name].dtype == value.dtype
            assert found[name].tobytes() == value.tobytes()
            assert found[name].shape == value.shape


def test_what_the_library_writes_is_read(path):
    params = {"b": np.arange(5, dtype=np.float32), "a": np.ones((2, 3), np.int64)}
    save_file(params, path, metadata={"format": "pt"})
    found = read_file(path)
    for name, value in params.items():
        np.testing.assert_array_equal(found[name], value)


def test_dtypes_that_numpy_does_not_have(path):
    params = {"w": np.arange(6).astype(ml_dtypes.bfloat16), "q": np.arange(6).astype(ml_dtypes.float8_e4m3fn)}
    write_file(path, params)
    with safe_open(path, framework="numpy") as file:
        assert file.get_slice("w").get_dtype() == "BF16"
        assert file.get_slice("q").get_dtype() == "F8_E4M3"
    for name, value in read_file(path).items():
        assert value.dtype == params[name].dtype
        assert value.tobytes() == params[name].tobytes()


def test_torch_reads_bfloat16(path):
    pytest.importorskip("torch")
    from safetensors.torch import load_file as load_torch

    write_file(path, {"w": np.arange(6).astype(ml_dtypes.bfloat16)})
    assert load_torch(path)["w"].tolist() == [0, 1, 2, 3, 4, 5]


def test_nested_params_come_back_nested(path):
    params = {"a": {"b.c": np.ones(2), "d": {"e": np.zeros(1)}}, "f.g": np.ones(3)}
    write_file(path, params)
    assert set(load_file(path)) == {"a.b.c", "a.d.e", "f.g"}
    assert dict(flatten(read_file(path))).keys() == dict(flatten(params)).keys()


def test_two_keys_of_one_dotted_name(path):
    with pytest.raises(SafetensorsError, match="same dotted name"):
        write_file(path, {"a": {"b": np.ones(1)}, "a.b": np.ones(1)})


def test_big_endian_and_strided_arrays(path):
    params = {"big": np.arange(4, dtype=">f4"), "strided": np.arange(10.0)[::3], "transposed": np.ones((2, 3)).T}
    write_file(path, params)
    for name, value in load_file(path).items():
        np.testing.assert_array_equal(value, params[name])


def test_dtypes_without_a_code_are_named(path):
    with pytest.raises(SafetensorsError, match="'w' has dtype complex128"):
        write_file(path, {"w": np.ones(2, np.complex128)})
    assert not path.exists()


def test_a_file_that_cannot_be_written_leaves_the_old_one(path):
    write_file(path, {"w": np.ones(3)})
    with pytest.raises(SafetensorsError):
        write_file(path, {"v": np.ones(2), "w": np.ones(2, np.complex128)})
    np.testing.assert_array_equal(read_file(path)["w"], np.ones(3))
    assert [each.name for each in path.parent.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize("name", ["w", "layer.weight", "a" * 57])
def test_values_begin_where_processors_read_them_fast(path, name):
    write_file(path, {name: np.arange(3.0)})
    assert (8 + int.from_bytes(path.read_bytes()[:8], "little")) % 64 == 0


@pytest.mark.parametrize("nested", ['["w"]', '{"w": "w"}', '{"w": []}', '{"w": [1]}'])
def test_nesting_that_makes_no_sense(path, nested):
    save_file({"w": np.zeros(2)}, path, metadata={"flare.keys": nested})
    with pytest.raises(SafetensorsError, match="'w' has an invalid nested key"):
        read_file(path)


def test_a_file_that_is_replaced_stays_readable_to_who_has_read_it(path):
    write_file(path, {"w": np.ones(3)})
    before = read_file(path)["w"]
    write_file(path, {"w": np.zeros(3)})
    np.testing.assert_array_equal(before, np.ones(3))


def test_arrays_that_were_read_cannot_be_changed(path):
    write_file(path, {"w": np.ones(3)})
    with pytest.raises(ValueError, match="read-only"):
        read_file(path)["w"][0] = 2


def test_every_truncation_is_noticed(path):
    write_file(path, {"w": np.arange(3.0), "v": np.arange(2.0)})
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(SafetensorsError, match=r"model\.safetensors"):
            read_file(path)


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F64", "shape": [3], "data_offsets": [0, 16]},
        {"dtype": "F64", "shape": [-1], "data_offsets": [0, 24]},
        {"dtype": "X", "shape": [3], "data_offsets": [0, 24]},
        {"dtype": "F64", "shape": 3, "data_offsets": [0, 24]},
        {"dtype": "F64", "shape": [3], "data_offsets": [8, 0]},
        {"dtype": "F64", "shape": [3]},
        [],
        None,
    ],
)
def test_entries_that_make_no_sense(path, entry):
    header = json.dumps({"w": entry}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(24))
    with pytest.raises(SafetensorsError, match="'w'"):
        read_file(path)


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=100))
def test_any_bytes_are_a_file_or_an_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("files") / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(SafetensorsError):
        read_file(path)

"""Damaged files and false claims of senders: arrays or a FlareError come out, nothing lands elsewhere."""

from __future__ import annotations

import json
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flare_core import FlareError
from flare_core.model import flatten
from flare_fobs import FobsError, dumps, loads
from flare_tensor_downloader import SafetensorsError, download_file, download_tensors, read_file, write_file
from flare_tensor_downloader.source import Entry
from flare_tensor_downloader.wire import OfferedParams
from flare_transport import Raw

PARAMS = {"w": np.arange(12.0).reshape(3, 4), "deep": {"b": np.ones(3, np.float32), "n": np.array(7)}}
values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5)
nested = st.recursive(values, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=2))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
)


def _read(path):
    """All tensors of a file, in full."""
    return [np.array(array) for _, array in flatten(read_file(path))]


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_fuzz_a_damaged_file_is_tensors_or_a_safetensors_error(tmp_path, data):
    path = tmp_path / "model.safetensors"
    write_file(path, PARAMS)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    path.write_bytes(content)
    with suppress(SafetensorsError):
        _read(path)


@given(entry=json_values, keys=json_values, metadata=json_values, is_nested=st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_fuzz_any_header_is_tensors_or_a_safetensors_error(tmp_path, entry, keys, metadata, is_nested):
    wrapped = {"flare.keys": json.dumps(keys)} if is_nested else metadata
    good = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    for header in ({"w": entry}, {"w": {**good, "shape": entry}}, {"w": good, "__metadata__": wrapped}, entry):
        text = json.dumps(header).encode()
        path = tmp_path / "model.safetensors"
        path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
        with suppress(SafetensorsError):
            _read(path)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"a": ["x"], "b": ["x", "y"]}, "the name of a nested mapping"),
        ({"a": []}, "an invalid nested key"),
        ({"a": [["x"]]}, "an invalid nested key"),
        ([1], "an invalid nested key"),
    ],
)
def test_keys_that_cannot_be_nested_are_refused(tmp_path, keys, message):
    entry = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    text = json.dumps({"a": entry, "b": entry, "__metadata__": {"flare.keys": json.dumps(keys)}}).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(4))
    with pytest.raises(SafetensorsError, match=message):
        read_file(path)


@given(manifest=nested, body=st.binary(max_size=40), digest=values)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_fuzz_a_false_manifest_is_a_reason_and_leaves_no_file(cells, receiver, tmp_path, manifest, body, digest):
    sender, _ = cells
    folder = tmp_path / "deep" / "folder"
    folder.mkdir(parents=True, exist_ok=True)
    for claim in (manifest, [[manifest, "uint8", [40]]], [["../../evil", "uint8", manifest]], [["x", manifest, [40]]]):
        sender.handle("tensor.manifest", lambda message, claim=claim: claim)
        sender.handle("tensor.pull", lambda message: Raw(body, {"digest": digest}))
        problem, path = download_file(sender.name, "reference", 20, receiver, folder, max_bytes=1 << 20)
        assert (problem is None) != (path is None)
        if path is not None:
            path.unlink()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@given(parts=st.lists(nested, min_size=6, max_size=6), number=st.integers(0, 5), owner=nested)
def test_fuzz_a_false_offer_is_refused_when_it_is_decoded(parts, number, owner):
    good = ["w", "float32", (3,), None, None, False]
    claims = [*good[:number], parts[number], *good[number + 1 :]]
    offer = OfferedParams(owner if number == 0 else "site-1", "r", [])
    offer.entries = [Entry(*claims)]
    try:
        data = dumps(offer)
    except FlareError:
        return  # not even a liar can send it so
    with suppress(FobsError):
        (entry,) = loads(data).entries
        assert entry.nbytes >= 0
        hash(entry.key)


@pytest.mark.parametrize(
    "shape", [[1 << 40, "ab"], [1 << 40, b"ab"], [1 << 36, [0]], [-1], [1.5], ["x"], "ab", [1 << 47]]
)
def test_a_shape_that_cannot_be_costs_no_memory(cells, receiver, tmp_path, shape):
    sender, _ = cells
    sender.handle("tensor.manifest", lambda message: [["w", "uint8", shape]])
    problem, path = download_file(sender.name, "reference", 20, receiver, tmp_path)
    assert path is None
    assert "reference" in problem
    problem, tensors = download_tensors(sender.name, "reference", 20, receiver)
    assert (tensors, "describes the tensors" in problem) == ({}, True)


def test_a_range_that_is_not_there_is_refused(cells, downloader, receiver):
    offer = downloader.offer({"w": np.zeros(1000)}, inline=False)
    for offset, length in ((-8, 8), (0, 1 << 50), (7992, 16), (8, -8)):
        with pytest.raises(FlareError, match="requested"):
            receiver.request(downloader.cell.name, "tensor.pull", [offer.ref_id, 0, offset, length], timeout_s=20)

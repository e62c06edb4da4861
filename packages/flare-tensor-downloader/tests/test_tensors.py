"""Offering a state dict at one cell and fetching it at another."""

from __future__ import annotations

import threading

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as np_st

from flare_core.model import flatten
from flare_fobs import EncodeError
from flare_tensor_downloader import Downloader, add_tensors, download_tensors, iterate_tensors
from flare_tensor_downloader.source import CHUNK_BYTES
from flare_transport import Cell


def fetch(downloader: Downloader, receiver: Cell, tensors: dict) -> dict:
    error, found = download_tensors(downloader.cell.name, add_tensors(downloader, tensors), None, receiver)
    assert error is None
    return found


def assert_same(found: dict, wanted: dict) -> None:
    found_flat, wanted_flat = dict(flatten(found)), dict(flatten(wanted))
    assert list(found_flat) == list(wanted_flat)
    for key, value in wanted_flat.items():
        assert found_flat[key].dtype == value.dtype
        assert found_flat[key].shape == value.shape
        assert found_flat[key].tobytes() == value.tobytes()


def test_tensors_of_several_chunks(downloader, receiver):
    values = np.random.default_rng(0)
    tensors = {
        "embedding": values.normal(size=(3, CHUNK_BYTES // 8)).astype(np.float32),
        "exact": values.normal(size=CHUNK_BYTES // 8),
        "one more": values.normal(size=CHUNK_BYTES // 8 + 1),
        "bias": values.normal(size=10),
    }
    found = fetch(downloader, receiver, tensors)
    assert_same(found, tensors)
    found["bias"][:] = 0  # the receiver's own
    assert tensors["bias"].any()


@pytest.mark.parametrize(
    "dtype",
    ["?", "u1", "i1", "i8", "f2", "f4", "f8", "c8", ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2],
)
def test_every_dtype(downloader, receiver, dtype):
    tensors = {
        "w": np.arange(100).astype(dtype).reshape(4, 25),
        "scalar": np.array(1).astype(dtype),
        "none": np.zeros((0, 3), dtype),
    }
    assert_same(fetch(downloader, receiver, tensors), tensors)


def test_keys_of_any_form(downloader, receiver):
    tensors = {"encoder.layer.0": np.ones(2), "head": {"w": np.zeros(3), "a.b": {"c": np.full(4, 2.0)}}, "": np.ones(1)}
    assert_same(fetch(downloader, receiver, tensors), tensors)


def test_views_that_are_not_contiguous(downloader, receiver):
    base = np.arange(24.0).reshape(4, 6)
    tensors = {
        "transposed": base.T,
        "strided": base[::2, ::3],
        "expanded": np.broadcast_to(base[0], (5, 6)),
        "reversed": base[::-1],
    }
    wanted = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    assert_same(fetch(downloader, receiver, tensors), wanted)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.text(max_size=8), np_st.arrays(np.float64, np_st.array_shapes(min_dims=0, min_side=0)), max_size=5
    )
)
def test_any_arrays(downloader, receiver, tensors):
    assert_same(fetch(downloader, receiver, tensors), tensors)


def test_nothing_is_copied_to_be_offered(downloader, receiver):
    weights = np.zeros(1_000_000)
    reference = add_tensors(downloader, {"w": weights})
    weights[5] = 7.0
    error, found = download_tensors("site-1", reference, None, receiver)
    assert error is None
    assert found["w"][5] == 7.0


def test_a_reference_is_gone_after_it_was_fetched(downloader, receiver):
    reference = add_tensors(downloader, {"w": np.zeros(1_000_000)})
    assert download_tensors("site-1", reference, None, receiver)[0] is None
    receiver.request("site-1", "tensor.manifest", [add_tensors(downloader, {"x": np.zeros(1)})])  # after the release
    error, found = download_tensors("site-1", reference, None, receiver)
    assert found == {}
    assert f"site-1 offers nothing under the reference '{reference}'" in error


def test_a_reference_is_gone_when_all_its_receivers_have_it(downloader, receiver, another):
    reference = add_tensors(downloader, {"w": np.arange(3.0)}, ["server", "site-2"])
    for each in (receiver, another):  # the first to be done does not take it from the second
        error, found = download_tensors("site-1", reference, None, each)
        assert error is None
        np.testing.assert_array_equal(found["w"], [0, 1, 2])
        each.request("site-1", "tensor.manifest", [add_tensors(downloader, {"x": np.zeros(1)})])  # after the release
    error, _ = download_tensors("site-1", reference, None, another)
    assert "offers nothing under the reference" in error


def test_an_owner_that_is_unknown(receiver):
    error, found = download_tensors("site-9", "0123", 5.0, receiver)
    assert found == {}
    assert "server has no link to 'site-9'" in error


def test_values_that_change_under_way_are_noticed(downloader, receiver):
    weights = np.zeros(1000)
    reference = downloader.offer({"layer.w": weights}, inline=False, receivers={"server": 2}).ref_id
    assert download_tensors("site-1", reference, None, receiver)[0] is None  # now the digest is known
    weights[3] = 1.0
    error, found = download_tensors("site-1", reference, None, receiver)
    assert found == {}
    assert "'layer.w' from site-1" in error
    assert "do not match their digest" in error


def test_a_link_that_ends_under_way(cells):
    owner, receiver = cells
    downloader = Downloader(owner)
    asked = threading.Event()
    served = owner._handlers["tensor.pull"][0]

    def pull(message):
        if message.payload[2] >= 2 * CHUNK_BYTES:
            asked.set()
            owner.close(wait=False)
        return served(message)

    owner.handle("tensor.pull", pull)
    reference = add_tensors(downloader, {"w": np.zeros(CHUNK_BYTES)})
    error, found = download_tensors("site-1", reference, None, receiver)
    assert asked.is_set()
    assert found == {}
    assert "'w' from site-1" in error


def test_an_owner_that_does_not_answer(cells):
    owner, receiver = cells
    downloader = Downloader(owner)
    go_on = threading.Event()
    owner.handle("tensor.pull", lambda message: go_on.wait(20))
    error, found = download_tensors("site-1", add_tensors(downloader, {"w": np.zeros(9)}), 0.1, receiver)
    go_on.set()
    assert found == {}
    assert "site-1 did not reply within 0.1 s" in error


def test_an_owner_that_does_not_say_what_it_offers(cells):
    owner, receiver = cells
    go_on = threading.Event()
    owner.handle("tensor.manifest", lambda message: go_on.wait(20))
    error, found = download_tensors("site-1", "0123", 0.1, receiver)
    with pytest.raises(TimeoutError, match=r"site-1 did not reply within 0\.1 s"):
        next(iterate_tensors("site-1", "0123", 0.1, receiver))
    go_on.set()
    assert found == {}
    assert "site-1 did not reply within 0.1 s" in error


def test_torch_tensors(downloader, receiver):
    torch = pytest.importorskip("torch")
    tensors = {
        "w": torch.arange(6, dtype=torch.bfloat16).reshape(2, 3),
        "t": torch.ones(3, 4).T,
        "grad": torch.ones(2, requires_grad=True),
    }
    found = fetch(downloader, receiver, tensors)
    assert found["w"].dtype == ml_dtypes.bfloat16
    assert found["t"].shape == (4, 3)
    np.testing.assert_array_equal(found["w"].astype(np.float32), [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(found["grad"], [1, 1])


def test_values_that_cannot_travel_are_named(downloader):
    with pytest.raises(EncodeError, match=r"'head\.w': a builtins\.object is not an array"):
        add_tensors(downloader, {"head": {"w": object()}})

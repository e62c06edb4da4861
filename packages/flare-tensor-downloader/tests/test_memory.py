"""What an end of an exchange remembers, and that equal tensors do not travel again."""

from __future__ import annotations

import numpy as np
import pytest

from flare_core import FLModel
from flare_tensor_downloader import DownloadError
from flare_tensor_downloader.fetch import RemoteOffer
from flare_tensor_downloader.lazy import RemoteParams
from flare_tensor_downloader.memory import TensorMemory
from flare_tensor_downloader.source import CHUNK_BYTES, ArraySource, Entry
from flare_tensor_downloader.wire import send_params

TWO_RANGES = np.arange(CHUNK_BYTES // 8 + 5, dtype=np.float64)


def entry_of(array, key="w", **changes):
    source = ArraySource(array)
    return Entry(key, source.dtype, source.shape, **{"digest": source.digest(), **changes})


def memory_that_holds(array, key="w"):
    memory = TensorMemory()
    memory.record_digests(key, ArraySource(array).digests())
    assert memory.is_same(key, ArraySource(array))
    return memory


@pytest.mark.parametrize("array", [TWO_RANGES, np.zeros((0, 3)), np.array(1.5)])
def test_a_tensor_is_the_same_if_every_range_is(array):
    memory = memory_that_holds(array)
    assert memory.is_same("w", ArraySource(array.copy()))
    assert not memory.is_same("v", ArraySource(array))


@pytest.mark.parametrize("index", [0, -1])
def test_one_changed_number_is_another_tensor(index):
    changed = TWO_RANGES.copy()
    changed[index] += 1
    assert not memory_that_holds(TWO_RANGES).is_same("w", ArraySource(changed))


def test_a_longer_and_a_shorter_tensor_are_others():
    memory = memory_that_holds(TWO_RANGES)
    assert not memory.is_same("w", ArraySource(TWO_RANGES[: CHUNK_BYTES // 8]))
    assert not memory.is_same("w", ArraySource(np.concatenate([TWO_RANGES, TWO_RANGES])))


def test_what_lies_elsewhere_is_not_looked_at():
    class Elsewhere:
        dtype, shape, nbytes = "float64", (1,), 8

    memory = TensorMemory()
    memory.record_digests("w", [1])
    assert not memory.is_same("w", Elsewhere())


def test_the_next_model_is_compared_with_nothing_of_the_last():
    memory = memory_that_holds(TWO_RANGES)
    memory.begin()
    assert not memory.is_same("w", ArraySource(TWO_RANGES))


def test_a_held_tensor_is_taken_once_and_then_known():
    array = np.arange(3.0)
    entry, memory = entry_of(array), memory_that_holds(array)
    memory.begin()
    assert memory.take_held(entry).tolist() == [0, 1, 2]
    assert memory.take_held(entry) is None
    assert memory.is_same("w", ArraySource(np.arange(3.0)))


def read_only(array):
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "make", [lambda: np.arange(3.0), lambda: np.arange(6.0)[:3], lambda: read_only(np.arange(3.0))]
)
def test_a_held_tensor_is_copied_so_that_the_script_can_change_either(make):
    array = make()
    taken = memory_that_holds(array).take_held(entry_of(array))
    assert not np.shares_memory(taken, array)
    assert taken.flags.writeable
    assert taken.tolist() == [0, 1, 2]


@pytest.mark.parametrize("changes", [{"digest": None}, {"digest": b"x"}, {"shape": (3, 1)}])
def test_another_tensor_is_not_taken(changes):
    array = np.arange(3.0)
    source = ArraySource(array)
    entry = Entry(**{"key": "w", "dtype": "float64", "shape": (3,), "digest": source.digest(), **changes})
    memory = memory_that_holds(array)
    assert memory.take_held(entry) is None
    assert memory_that_holds(array).take_held(entry_of(np.arange(1.0, 4.0))) is None


def test_what_was_let_go_is_not_taken():
    memory = memory_that_holds(np.arange(3.0))
    memory.forget_held()
    assert memory.take_held(entry_of(np.arange(3.0))) is None


def model_of(**params):
    return FLModel(params=params)


def test_what_is_sent_back_unchanged_does_not_travel(cells, downloader):
    large, other = np.arange(20_000.0), np.arange(20_000.0)
    memory = memory_that_holds(large, "large")
    outgoing, offer = send_params(model_of(large=large, other=other), downloader, memory=memory)
    same, told = outgoing.params.entries
    assert (same.key, same.same, same.digest, told.key, told.same) == ("large", True, None, "other", False)
    assert list(offer.arrays()) == ["other"]
    with pytest.raises(DownloadError, match=f"the offer {offer.ref_id} has no tensor 0 to fetch"):
        offer.source(0)
    sent = np.arange(20_000.0)
    received = RemoteParams(RemoteOffer(cells[1], "site-1", offer.ref_id), outgoing.params.entries, {"large": sent})
    arrays = received.materialize()
    assert np.array_equal(arrays["large"], sent)
    assert not np.shares_memory(arrays["large"], sent)
    assert np.array_equal(arrays["other"], other)
    blocks = dict(received.tensors())
    assert blocks["large"].unchanged is sent
    assert blocks["other"].unchanged is None


def test_where_all_is_unchanged_there_is_nothing_to_fetch(downloader):
    large = np.arange(20_000.0)
    outgoing, offer = send_params(model_of(large=large), downloader, memory=memory_that_holds(large, "large"))
    assert offer is None
    assert [entry.same for entry in outgoing.params.entries] == [True]
    assert downloader.open_offers == 0


@pytest.mark.parametrize("sent", [{}, {"w": np.zeros((2, 10_000))}, {"w": np.zeros(20_000, np.float32)}])
def test_a_claim_to_have_been_sent_a_tensor_is_checked(cells, sent):
    entry = Entry("w", "float64", (20_000,), same=True)
    with pytest.raises(DownloadError, match=r"site-1 says that it returns 'w' \(float64, \(20000,\)\) unchanged"):
        RemoteParams(RemoteOffer(cells[1], "site-1", "x"), [entry], sent)


def test_what_is_only_passed_on_cannot_be_read_where_it_is_the_same(cells):
    params = RemoteParams(RemoteOffer(cells[1], "site-1", "x"), [Entry("w", "float64", (20_000,), same=True)])
    with pytest.raises(DownloadError, match="the params of site-1 can only be forwarded here, not read"):
        params["w"]
    assert [key for key, _ in params.sources()] == ["w"]


def test_digests_are_told_of_the_keys_that_are_asked_for(downloader):
    large = np.arange(20_000.0)
    outgoing, _ = send_params(model_of(a=large, b=large), downloader, with_digest=["b"])
    assert [entry.digest for entry in outgoing.params.entries] == [None, ArraySource(large).digest()]


def test_a_receiver_takes_what_it_holds_and_notes_what_it_fetches(cells, downloader):
    held, fetched = np.arange(20_000.0), TWO_RANGES
    outgoing, offer = send_params(model_of(held=held, fetched=fetched), downloader, with_digest=["held", "fetched"])
    memory = memory_that_holds(held.copy(), "held")
    memory.begin()
    arrays = RemoteParams(RemoteOffer(cells[1], "site-1", offer.ref_id), outgoing.params.entries).materialize(memory)
    assert np.array_equal(arrays["held"], held)
    assert np.array_equal(arrays["fetched"], fetched)
    assert memory.is_same("fetched", ArraySource(fetched))
    assert memory.is_same("held", ArraySource(held))

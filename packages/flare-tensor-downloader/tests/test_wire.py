"""How params travel inside a message."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from flare_core import FLModel
from flare_fobs import DecodeError, dumps, loads
from flare_tensor_downloader import DownloadError
from flare_tensor_downloader.downloader import INLINE_TOTAL_BYTES
from flare_tensor_downloader.lazy import RemoteParams
from flare_tensor_downloader.source import MAX_TENSOR_BYTES, Entry
from flare_tensor_downloader.wire import OfferedParams, keep_params, receive_params, release_params, send_params
from flare_transport import RemoteError

SMALL = np.zeros(8)
LARGE = np.arange(20_000.0)


def send(params, downloader, **options):
    return send_params(FLModel(params=params, metrics={"loss": 1.0}), downloader, **options)


@pytest.mark.parametrize(
    "params", [None, {}, {"w": SMALL}, {"layer": {"w": SMALL}}, {"w": np.zeros(1 << 16, np.uint8)}]
)
def test_small_params_travel_as_they_are(downloader, params):
    model = FLModel(params=params)
    outgoing, offer = send_params(model, downloader)
    assert outgoing is model
    assert offer is None
    assert downloader.open_offers == 0


def test_one_byte_above_the_limit_is_offered_and_the_rest_travels_in_the_message(downloader):
    params = {"w": np.zeros((1 << 16) + 1, np.uint8), "layer": {"b": SMALL}}
    outgoing, offer = send(params, downloader)
    large, small = outgoing.params.entries
    assert (large.key, large.inline, small.key, small.inline is params["layer"]["b"]) == (
        "w",
        None,
        ("layer", "b"),
        True,
    )
    assert (outgoing.params.owner, outgoing.params.ref_id, outgoing.metrics) == ("site-1", offer.ref_id, {"loss": 1.0})
    assert downloader.open_offers == 1
    assert list(offer.values()) == ["w", ("layer", "b")]
    assert list(offer.arrays()) == ["w"]
    assert (offer.is_inline, offer.needs_fetching) == (False, True)


def test_many_small_arrays_are_offered_once_they_are_much_together(downloader):
    count = INLINE_TOTAL_BYTES // (1 << 16)
    fits = {f"{number}": np.zeros(1 << 16, np.uint8) for number in range(count)}
    assert send(fits, downloader)[1] is None
    outgoing, offer = send({**fits, "one": SMALL}, downloader)
    assert [entry.key for entry in outgoing.params.entries if entry.inline is None] == ["one"]
    assert offer.needs_fetching


def test_lists_and_numbers_among_params_travel_as_arrays(downloader):
    outgoing, offer = send({"w": [1.0, 2.0], "n": 3}, downloader)
    assert offer is None
    assert (outgoing.params["w"].tolist(), outgoing.params["n"].tolist()) == ([1.0, 2.0], 3)


def test_params_that_were_offered_are_not_offered_again(downloader):
    outgoing, _ = send({"w": LARGE}, downloader)
    again, offer = send_params(outgoing, downloader)
    assert again is outgoing
    assert offer is None
    assert downloader.open_offers == 1


def test_a_message_carries_all_that_there_is_to_know_of_a_tensor():
    entries = [Entry(("a", "b"), "float64", (2, 0), digest=b"x", same=True), Entry("w", "float32", (1,), np.ones(1))]
    arrived = loads(dumps(OfferedParams("site-1", "reference", entries)))
    assert (arrived.owner, arrived.ref_id, dict(arrived)) == ("site-1", "reference", {})
    first, second = arrived.entries
    assert first == entries[0]
    assert (second.key, second.dtype, second.shape, second.inline.tolist()) == ("w", "float32", (1,), [1.0])
    assert (second.digest, second.same) == (None, False)


@pytest.mark.parametrize(
    "wrong",
    [
        {"key": 3},
        {"key": ("a", 3)},
        {"key": ()},
        {"shape": (-1,)},
        {"shape": (1.0,)},
        {"shape": (True,)},
        {"inline": [1.0]},
        {"digest": "x"},
        {"same": 1},
        {"shape": (MAX_TENSOR_BYTES // 8 + 1,)},
    ],
)
def test_an_entry_of_another_form_is_refused(wrong):
    entry = replace(Entry("w", "float64", (2,)), **wrong)
    with pytest.raises(DecodeError):
        loads(dumps(OfferedParams("site-1", "reference", [entry])))


def test_the_largest_tensor_and_one_without_elements_are_taken():
    entries = [Entry("w", "float64", (MAX_TENSOR_BYTES // 8,)), Entry("v", "float64", (0,))]
    assert loads(dumps(OfferedParams("site-1", "reference", entries))).entries == entries


@pytest.mark.parametrize(("owner", "ref_id"), [(3, "x"), ("site-1", 3)])
def test_an_owner_and_a_reference_are_texts(owner, ref_id):
    with pytest.raises(DecodeError):
        loads(dumps(OfferedParams(owner, ref_id, [])))


def test_params_that_did_not_stay_are_the_model_as_it_came(cells):
    model = FLModel(params={"w": SMALL})
    assert receive_params(model, cells[1]) is model
    assert model.params == {"w": SMALL}
    release_params(model, cells[1])


def test_an_offer_that_is_released_unread_is_gone(cells, downloader):
    outgoing, offer = send({"w": LARGE}, downloader)
    release_params(outgoing, cells[1])
    assert offer.wait_released(20)
    assert downloader.open_offers == 0


def test_params_are_kept_until_their_holder_lets_go(cells, downloader):
    assert keep_params(FLModel(metrics={"loss": 1.0}), downloader, "server").params is None
    outgoing = keep_params(FLModel(params={"w": SMALL}), downloader, "server")
    (entry,) = outgoing.params.entries
    assert entry.inline is None
    assert downloader.own(outgoing.params.ref_id)["w"] is SMALL
    ref_id = outgoing.params.ref_id
    params = receive_params(outgoing, cells[1]).params
    assert isinstance(params, RemoteParams)
    assert params["w"].tolist() == SMALL.tolist()
    params.release()
    params.release()
    with pytest.raises(RemoteError, match="site-1 offers nothing under the reference"):
        cells[1].request("site-1", "tensor.manifest", [ref_id], timeout_s=20)


def test_where_cells_can_seal_the_holder_cannot_read_what_it_holds(cells, downloader):
    downloader.seals = True
    params = receive_params(keep_params(FLModel(params={"w": LARGE}), downloader, "server"), cells[1]).params
    with pytest.raises(DownloadError, match="server may not read this offer"):
        params["w"]

"""Params that are fetched when they are read, and how they travel inside a message."""

from __future__ import annotations

import socket
import tracemalloc
from queue import SimpleQueue

import numpy as np
import pytest

from flare_core import FLModel
from flare_core.model import flatten
from flare_tensor_downloader import Downloader, DownloadError
from flare_tensor_downloader.lazy import RemoteParams
from flare_tensor_downloader.source import CHUNK_BYTES
from flare_tensor_downloader.wire import leased_params, receive_params, send_params
from flare_transport import Cell, SocketLink

MODEL = {
    "encoder": {"w": np.arange(300_000.0).reshape(3, -1), "b": np.arange(5.0)},
    "head": np.arange(2 * CHUNK_BYTES // 8 + 3, dtype=np.float64),
    "empty": np.zeros((0, 2)),
}


def send(owner: Cell, downloader: Downloader, receiver: Cell, params: dict, **arguments):
    """Send a model's params from one cell to another; return what arrives, and the offer."""
    models: SimpleQueue = SimpleQueue()
    receiver.handle("model", lambda message: models.put(message.payload), inline=True)
    outgoing, offer = send_params(FLModel(params=params), downloader, **arguments)
    owner.send(receiver.name, "model", outgoing)
    return receive_params(models.get(timeout=20), receiver).params, offer


@pytest.fixture
def lazy(cells, downloader, receiver):
    return send(cells[0], downloader, receiver, MODEL)[0]


def flat(params) -> dict:
    return {key: np.array(value) for key, value in flatten(params)}


def assert_model(found) -> None:
    assert list(found) == [key for key, _ in flatten(MODEL)]
    for key, value in flatten(MODEL):
        np.testing.assert_array_equal(found[key], value)


def test_it_reads_like_the_dict_that_was_sent(lazy):
    assert isinstance(lazy, RemoteParams)
    assert list(lazy) == list(MODEL)
    assert len(lazy) == 3
    np.testing.assert_array_equal(lazy["head"], MODEL["head"])
    np.testing.assert_array_equal(lazy["encoder"]["w"], MODEL["encoder"]["w"])
    assert_model(flat(lazy))
    assert_model(dict(flatten(lazy.materialize())))


def test_keys_of_nested_tensors_are_their_paths(cells, downloader, receiver):
    encoder = {"weight": np.zeros(300_000), "bias": np.zeros(2)}
    params = {"net": {"encoder": encoder, "scale": np.zeros(1)}, "step": np.zeros(1)}
    lazy, _ = send(cells[0], downloader, receiver, params)
    assert [key for key, _ in lazy.leaves()] == [key for key, _ in flatten(params)]


def test_a_tensor_is_fetched_anew_each_time(lazy):
    assert lazy["head"] is not lazy["head"]


@pytest.mark.parametrize(
    "view_of",
    [lambda array: array, lambda array: array[3:], lambda array: pytest.importorskip("torch").from_numpy(array)[3:]],
    ids=["array", "slice", "tensor"],
)
def test_a_model_that_is_still_in_use_is_not_changed_through_the_next(lazy, view_of):
    kept = view_of(lazy.materialize()["head"])
    lazy.materialize()["head"][:] = 7.0
    np.testing.assert_array_equal(np.asarray(kept), view_of(MODEL["head"]))


def test_blocks_are_the_values_in_order(lazy):
    found = {}
    for key, blocks in lazy.tensors():
        parts = [np.array(block) for block in blocks.blocks]
        assert all(part.ndim == 1 for part in parts)
        found[key] = np.concatenate(parts).reshape(blocks.shape) if parts else np.empty(blocks.shape)
    assert_model(found)


def test_blocks_need_little_memory_whatever_the_size(cells, downloader, receiver):
    params, _ = send(cells[0], downloader, receiver, {"w": np.zeros(16 * CHUNK_BYTES, np.uint8)})
    tracemalloc.start()
    try:
        total = sum(int(block.sum()) for _, blocks in params.tensors() for block in blocks.blocks)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert total == 0
    assert peak < 7 * CHUNK_BYTES


def test_released_params_cannot_be_read(cells, downloader, receiver):
    params, offer = send(cells[0], downloader, receiver, MODEL)
    released: SimpleQueue = SimpleQueue()
    offer.when_released(lambda: released.put(True))
    params.release()
    params.release()
    assert released.get(timeout=20)
    assert downloader.open_offers == 0
    for read in (
        lambda: params["head"],
        lambda: dict(params.items()),
        params.materialize,
        lambda: list(params.tensors()),
    ):
        with pytest.raises(DownloadError, match="were released before they were read"):
            read()


def test_small_params_that_came_with_the_message_are_released_like_large_ones():
    params = leased_params({"w": np.ones(3), "net": {"b": np.zeros(1)}}, "site-1")
    inner = params["net"]
    assert dict(flatten(params))["w"].tolist() == [1.0] * 3
    params.release()
    for read in (lambda: params["w"], lambda: dict(inner.items()), lambda: list(params.tensors())):
        with pytest.raises(DownloadError, match="the params of site-1 were released before they were read"):
            read()


def test_when_the_owner_closes_the_offer_reading_says_so(cells, downloader, receiver):
    params, offer = send(cells[0], downloader, receiver, MODEL)
    offer.close()
    with pytest.raises(DownloadError, match=r"'head' from site-1: .*offers nothing under the reference"):
        params["head"]


def test_an_offer_lasts_until_all_receivers_are_done(cells, downloader, receiver):
    params, offer = send(cells[0], downloader, receiver, MODEL, receivers={"server": 2, "site-2": 1})
    params.release()
    assert not offer.wait_released(0.05)
    offer.done("site-2")
    offer.done("site-2")  # a repeat is no other receiver
    assert not offer.wait_released(0.05)
    assert downloader.open_offers == 1
    offer.done("server")
    assert offer.wait_released(0)
    assert downloader.open_offers == 0


def test_a_receiver_that_is_lost_is_not_waited_for(cells, downloader, receiver):
    _, offer = send(cells[0], downloader, receiver, MODEL, receivers={"server": 3})
    receiver.close()
    assert offer.wait_released(20)
    assert downloader.open_offers == 0


def test_small_models_travel_inside_the_message(cells, downloader, receiver):
    small = {"w": np.arange(10.0), "n": {"b": np.ones(3)}}
    params, offer = send(cells[0], downloader, receiver, small)
    assert offer is None
    assert downloader.open_offers == 0
    assert type(params) is dict
    np.testing.assert_array_equal(params["w"], small["w"])
    np.testing.assert_array_equal(params["n"]["b"], small["n"]["b"])


def test_the_senders_model_does_not_change(downloader):
    model = FLModel(params=MODEL)
    outgoing, offer = send_params(model, downloader)
    assert model.params is MODEL
    assert outgoing.params is not MODEL
    offer.close()


def test_a_cell_in_between_passes_tensors_on(cells, downloader, receiver):
    """From site-1 over the server to a script, and the release the same way back."""
    with Cell("script") as script:
        here, there = socket.socketpair()
        receiver.attach(SocketLink("script", here))
        script.attach(SocketLink("server", there))
        passing, _ = send(cells[0], downloader, receiver, MODEL)
        relay = Downloader(receiver)
        params, offer = send(receiver, relay, script, passing)
        offer.when_released(passing.release)
        assert_model(dict(flatten(params.materialize())))
        params.release()
        assert offer.wait_released(20)

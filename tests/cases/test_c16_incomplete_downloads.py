"""C16: an incomplete or wrong download never becomes a model."""

from __future__ import annotations

import socket

import numpy as np
import pytest

from flare_core import FLModel
from flare_tensor_downloader import Downloader, DownloadError
from flare_tensor_downloader.wire import receive_params, send_params
from flare_transport import Cell, Raw, SocketLink

PARAMS = {f"layer.{number}": np.full(100_000, number, np.float64) for number in range(5)}


@pytest.fixture
def cells():
    here, there = socket.socketpair()
    with Cell("server") as server, Cell("site-1") as site:
        server.attach(SocketLink("site-1", here))
        site.attach(SocketLink("server", there))
        yield server, site


def omit(raw: Raw, index: int) -> Raw:
    if index == 2:
        raise KeyError("no third tensor")
    return raw


def nothing(raw: Raw, index: int) -> Raw | None:
    return None if index == 2 else raw


def cut(raw: Raw, index: int) -> Raw:
    return Raw(raw.body[:-10], raw.extra) if index == 2 else raw


def append(raw: Raw, index: int) -> Raw:
    return Raw(bytes(raw.body) + bytes(10), raw.extra) if index == 2 else raw


def flip(raw: Raw, index: int) -> Raw:
    body = bytearray(raw.body)
    body[5] ^= index == 2
    return Raw(body, raw.extra)


def fail(raw: Raw, index: int) -> Raw:
    if index == 3:
        raise OSError("disk error")
    return raw


@pytest.mark.parametrize(
    ("fault", "tensor"),
    [(omit, 2), (nothing, 2), (cut, 2), (append, 2), (flip, 2), (fail, 3)],
    ids=lambda value: getattr(value, "__name__", None),
)
@pytest.mark.parametrize("in_the_stream", [False, True], ids=["whole", "tensor by tensor"])
def test_the_error_names_the_tensor(cells, fault, tensor, in_the_stream):
    server, site = cells
    downloader = Downloader(server)
    served = server._handlers["tensor.pull"][0]
    server.handle("tensor.pull", lambda message: fault(served(message), message.payload[1]))
    outgoing, _ = send_params(FLModel(params=PARAMS), downloader)
    params = receive_params(outgoing, site).params
    read = read_blocks if in_the_stream else params.materialize
    with pytest.raises(DownloadError, match=rf"'layer\.{tensor}' from server"):
        read(*([params] if in_the_stream else []))


def read_blocks(params) -> None:
    for _, blocks in params.tensors():
        list(blocks.blocks)

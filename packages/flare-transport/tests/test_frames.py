"""Parsing of frames, wherever the bytes are split, and refusal of invalid ones."""

from __future__ import annotations

import contextlib
import socket
import threading

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flare_fobs import FobsError
from flare_transport import Cell, ProtocolError, SocketLink
from flare_transport.frame_reader import FrameReader
from flare_transport.frames import MAGIC, PREFIX, Kind, Message, Raw, pack


class Collector:
    def __init__(self) -> None:
        self.messages: list[Message] = []

    def destination(self, header, size):
        return None

    def deliver(self, header, body):
        self.messages.append(Message(header, bytes(body)))


def read(data: bytes, sizes: list[int]) -> list[Message]:
    """Read frames from bytes that arrive in pieces of given sizes."""
    collector = Collector()
    reader = FrameReader(collector)
    left, turn = memoryview(data), 0
    while left:
        room = reader.free_space
        part = left[: min(sizes[turn % len(sizes)], len(room))]
        room[: len(part)] = part
        reader.advance(len(part))
        left, turn = left[len(part) :], turn + 1
    reader.end()
    return collector.messages


payloads = st.one_of(
    st.none(),
    st.text(max_size=50),
    st.binary(max_size=300).map(Raw),
    st.lists(st.integers(0, 400), max_size=3).map(lambda sizes: {"arrays": [np.arange(size) for size in sizes]}),
)


@settings(deadline=None)
@given(st.lists(payloads, max_size=5), st.lists(st.integers(1, 500), min_size=1, max_size=4))
def test_frames_are_the_same_wherever_the_bytes_are_split(sent, sizes):
    data = b"".join(
        bytes(part)
        for number, payload in enumerate(sent)
        for part in pack(Kind.MESSAGE, "server", "site-1", "topic", number, payload).buffers
    )
    received = read(data, sizes)
    assert [message.id for message in received] == list(range(len(sent)))
    for message, payload in zip(received, sent, strict=True):
        if isinstance(payload, Raw):
            assert bytes(message.payload) == payload.body
        elif isinstance(payload, dict):
            for got, wanted in zip(message.payload["arrays"], payload["arrays"], strict=True):
                np.testing.assert_array_equal(got, wanted)
        else:
            assert message.payload == payload


def test_frames_may_be_larger_than_the_buffer():
    sent = [np.arange(200_000), np.arange(7), np.arange(300_000)]
    data = b"".join(bytes(part) for array in sent for part in pack(Kind.MESSAGE, "a", "b", "t", 0, array).buffers)
    for message, array in zip(read(data, [1 << 30]), sent, strict=True):
        np.testing.assert_array_equal(message.payload, array)


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200))
def test_any_bytes_are_frames_or_a_protocol_error(data):
    try:
        read(data, [1000])
    except ProtocolError:
        return
    assert data == b""


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_a_modified_frame_is_another_frame_or_a_protocol_error(data):
    good = bytearray(
        b"".join(map(bytes, pack(Kind.REQUEST, "server", "site-1", "topic", 7, {"w": np.arange(20)}).buffers))
    )
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    try:
        messages = read(bytes(good), [len(good)])
    except ProtocolError:
        return
    for message in messages:
        with contextlib.suppress(ProtocolError, FobsError):
            _ = message.payload


def header(fields: object) -> bytes:
    packed = msgpack.packb(fields)
    return PREFIX.pack(MAGIC, len(packed), 0) + packed


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        header("text"),
        header([0, "to", "from", "topic", 0, None]),
        header([9, "to", "from", "topic", 0, None, None]),
        header([0, 1, "from", "topic", 0, None, None]),
        header([0, "to", "from", "topic", 0, [-1], None]),
        header([0, "to", "from", "topic", 0, None, "extra"]),
        PREFIX.pack(MAGIC, 1 << 20, 0),
        PREFIX.pack(MAGIC, 10, 0) + b"cut",
    ],
)
def test_invalid_frames_are_refused(data):
    with pytest.raises(ProtocolError):
        read(data, [1000])


def test_an_announced_body_uses_no_memory_before_it_arrives():
    packed = msgpack.packb([0, "to", "from", "topic", 0, None, None])
    with pytest.raises(ProtocolError, match="longer than"):
        read(PREFIX.pack(MAGIC, len(packed), 1 << 60) + packed, [1000])


def test_the_sender_refuses_a_header_that_is_too_long():
    with pytest.raises(ProtocolError, match="header"):
        pack(Kind.MESSAGE, "a", "b", "t" * 70_000, 0, None)


@pytest.mark.parametrize(
    "garbage", [b"GET / HTTP/1.1\r\n\r\n", header([0, "server", "site-2", "topic", 0, None, None])]
)
def test_a_protocol_error_ends_the_link(garbage):
    with Cell("server") as server:
        lost: list = []
        gone = threading.Event()
        server.on_peer_lost(lambda peer, error: (lost.append(error), gone.set()))
        ours, theirs = socket.socketpair()
        server.attach(SocketLink("site-1", ours))
        theirs.sendall(garbage)
        assert gone.wait(10)
        assert isinstance(lost[0], ProtocolError)
        assert server.peers == ()
        theirs.close()

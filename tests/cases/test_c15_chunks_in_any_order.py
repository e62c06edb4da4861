"""C15: chunks of a stream that arrive out of order, twice, or not at all."""

from __future__ import annotations

import random
import threading

import pytest

from flare_transport import ProtocolError, StreamReader, stream_reader

SIZE = 64 << 10
DATA = random.Random(0).randbytes(100 * SIZE)
CHUNKS = [(number * SIZE, DATA[number * SIZE : (number + 1) * SIZE]) for number in range(100)]


def reader_of(deliveries: list, *, window: int = 100 * SIZE) -> tuple[StreamReader, list]:
    """Return a reader to which a thread delivers chunks (and "end") in this order."""
    sent: list = []
    reader = StreamReader("site-1", "blob", b"", window_bytes=window, send=lambda extra, body: sent.append(extra))

    def deliver():
        for each in deliveries:
            if each == "end":
                reader.end(len(DATA))
            else:
                reader.receive(*each)

    threading.Thread(target=deliver).start()
    return reader, sent


ORDERS = {
    "the first after 70 others": [*CHUNKS[1:71], CHUNKS[0], *CHUNKS[71:], "end"],
    "the last first": [CHUNKS[99], *CHUNKS[:99], "end"],
    "the end first": ["end", *CHUNKS],
    "two of them twice": [*CHUNKS[:51], CHUNKS[0], CHUNKS[50], *CHUNKS[51:], CHUNKS[99], "end"],
    "backwards": [*reversed(CHUNKS), "end"],
}


@pytest.mark.parametrize("order", list(ORDERS))
def test_the_bytes_are_right_and_come_once(order):
    reader, _ = reader_of(ORDERS[order])
    assert reader.read() == DATA


def test_credit_is_given_for_each_chunk_once():
    reader, sent = reader_of(ORDERS["two of them twice"])
    reader.read()
    assert sum(extra["credit"] for extra in sent) <= len(DATA)


def test_a_lost_chunk_is_an_error_and_not_a_wait(monkeypatch):
    monkeypatch.setattr(stream_reader, "GAP_S", 0.1)
    reader, _ = reader_of([*CHUNKS[:40], *CHUNKS[41:], "end"])
    with pytest.raises(ProtocolError, match=f"bytes from offset {40 * SIZE} are missing"):
        reader.read()
    second, _ = reader_of([*CHUNKS, "end"])  # nothing is left locked
    assert second.read() == DATA


def test_the_window_holds_for_chunks_that_come_early():
    reader, _ = reader_of([], window=10 * SIZE)
    for chunk in CHUNKS[1:11]:
        reader.receive(*chunk)
    with pytest.raises(ProtocolError, match="exceeded its credit for the stream"):
        reader.receive(*CHUNKS[11])

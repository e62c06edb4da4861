"""Byte streams, over every kind of link."""

from __future__ import annotations

import threading
from queue import SimpleQueue

import pytest

from flare_transport import RemoteError, StreamAbortedError

WAIT_S = 20


def test_a_stream_can_be_read_in_pieces_of_any_size(network):
    server, site = network.two()
    data = bytes(range(256)) * 40
    got: SimpleQueue = SimpleQueue()

    def read(reader):
        first = reader.read(1000)
        second = reader.read(2000)
        got.put(first + second + b"".join(reader))

    server.handle_stream("pieces", read)
    with site.open_stream("server", "pieces") as stream:
        for start in range(0, len(data), 333):
            stream.write(data[start : start + 333])
    assert got.get(timeout=WAIT_S) == data


def test_a_stream_can_be_empty(network):
    server, site = network.two()
    got: SimpleQueue = SimpleQueue()
    server.handle_stream("nothing", lambda reader: got.put((reader.meta, reader.read())))
    site.open_stream("server", "nothing").close()
    assert got.get(timeout=WAIT_S) == (None, b"")


def test_a_writer_blocks_while_the_reader_does_not_read(network):
    server, site = network.two()
    opened, go_on = threading.Event(), threading.Event()

    def read(reader):
        opened.set()
        go_on.wait(WAIT_S)
        assert len(reader.read()) == 1_000_000

    server.handle_stream("slow", read)
    stream = site.open_stream("server", "slow", window_bytes=100_000)
    written: list[int] = []

    def write():
        for _ in range(100):
            stream.write(bytes(10_000))
            written.append(10_000)
        stream.close()

    writer = threading.Thread(target=write)
    writer.start()
    assert opened.wait(WAIT_S)
    server.handle("ping", lambda message: "pong")
    assert site.request("server", "ping").payload == "pong"  # the link is not blocked
    writer.join(0.2)
    assert sum(written) <= 100_000
    go_on.set()
    writer.join(WAIT_S)
    assert sum(written) == 1_000_000


def test_many_streams_can_run_concurrently(network):
    server, site = network.two()
    got: SimpleQueue = SimpleQueue()
    server.handle_stream("sum", lambda reader: got.put((reader.meta, sum(sum(chunk) for chunk in reader))))

    def write(number):
        with site.open_stream("server", "sum", number, window_bytes=8192) as stream:
            for _ in range(20):
                stream.write(bytes([number]) * 1000)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    results = dict(got.get(timeout=WAIT_S) for _ in range(12))
    assert results == {number: number * 20_000 for number in range(12)}


def test_a_writer_that_must_not_wait_sends_what_there_is_credit_for(network):
    server, site = network.two()
    go_on, changed = threading.Event(), threading.Event()
    got: SimpleQueue = SimpleQueue()

    def read(reader):
        go_on.wait(WAIT_S)
        got.put(reader.read())

    server.handle_stream("offered", read)
    stream = site.open_stream("server", "offered", window_bytes=10_000)
    stream.changed = changed.set
    data = bytes(range(250)) * 100
    sent = stream.offer(data)
    assert sent == 10_000
    assert stream.offer(data[sent:]) == 0
    go_on.set()
    while sent < len(data):
        assert changed.wait(WAIT_S)
        changed.clear()
        sent += stream.offer(data[sent:])
    stream.end()
    assert got.get(timeout=WAIT_S) == data


def test_a_writer_that_does_not_wait_learns_that_the_reader_has_stopped(network):
    server, site = network.two()
    go_on, changed = threading.Event(), threading.Event()

    def read(reader):
        go_on.wait(WAIT_S)
        raise StreamAbortedError("enough")

    server.handle_stream("stopped", read)
    stream = site.open_stream("server", "stopped")
    stream.changed = changed.set
    go_on.set()
    assert changed.wait(WAIT_S)
    with pytest.raises(RemoteError, match="enough"):
        stream.offer(b"more")


def test_an_exception_of_the_reader_reaches_the_writer(network):
    server, site = network.two()

    def read(reader):
        reader.read(10)
        raise OSError("the disk is full")

    server.handle_stream("full", read)
    stream = site.open_stream("server", "full", window_bytes=8192)
    with pytest.raises(RemoteError, match="the disk is full") as raised:
        stream.write(bytes(1_000_000))
    assert raised.value.kind == "OSError"


def test_a_stream_without_a_handler_fails(network):
    _, site = network.two()
    with pytest.raises(RemoteError, match="server does not serve streams of 'nothing'"):
        site.open_stream("server", "nothing").close()


def test_a_handler_that_returns_before_the_end_is_an_error(network):
    server, site = network.two()
    server.handle_stream("head", lambda reader: reader.read(5))
    stream = site.open_stream("server", "head")
    stream.write(bytes(100))
    with pytest.raises(RemoteError, match="before it had read the whole stream"):
        stream.close()


def test_an_aborted_stream_fails_at_the_reader(network):
    server, site = network.two()
    failures: SimpleQueue = SimpleQueue()

    def read(reader):
        try:
            reader.read()
        except StreamAbortedError as error:
            failures.put(str(error))
            raise

    server.handle_stream("file", read)

    def write_half():
        with site.open_stream("server", "file") as stream:
            stream.write(bytes(1000))
            raise RuntimeError("the file is gone")

    with pytest.raises(RuntimeError, match="the file is gone"):
        write_half()
    assert "the file is gone" in failures.get(timeout=WAIT_S)


def test_a_closed_stream_refuses_bytes(network):
    server, site = network.two()
    server.handle_stream("file", lambda reader: reader.read())
    stream = site.open_stream("server", "file")
    stream.close()
    with pytest.raises(StreamAbortedError, match="closed"):
        stream.write(b"more")


@pytest.mark.parametrize("window", [0, 4095, (1 << 28) + 1])
def test_windows_have_bounds(unix_network, window):
    _, site = unix_network.two()
    with pytest.raises(ValueError, match="window_bytes"):
        site.open_stream("server", "file", window_bytes=window)

"""Byte streams between the parties of a job, over real cells."""

from __future__ import annotations

import hashlib
import queue
import threading
import time
import tracemalloc

import pytest

from flare_core import PartyError
from flare_runtime.endpoint.stream import CHUNK_BYTES, WINDOW_BYTES
from flare_transport import Raw

S = 20.0


def echo(stream):
    while data := stream.read():
        stream.write(data)


def read_all(stream) -> bytes:
    return b"".join(iter(stream.read, b""))


@pytest.mark.parametrize(("opener", "to"), [("site-1", "site-2"), ("site-1", "server"), ("server", "site-2")])
def test_both_ends_of_a_stream_read_and_write(two_sites, opener, to):
    two_sites[to].handle_stream("echo", echo)
    with two_sites[opener].open_stream(to, "echo", {"port": 7}, timeout_s=S) as stream:
        for text in (b"one", b"", b"two", bytes(range(256))):
            stream.write(text)
            assert b"".join(stream.read(1) for _ in text) == text
        stream.close_write()
        assert stream.read() == b""


def test_the_handler_gets_the_opener_and_the_meta_of_a_stream(two_sites):
    known = queue.Queue()
    two_sites["site-2"].handle_stream("echo", lambda stream: known.put((stream.peer, stream.topic, stream.meta)))
    with two_sites["site-1"].open_stream("site-2", "echo", {"port": 7}, timeout_s=S) as stream:
        assert stream.peer == "site-2"
        assert known.get(timeout=S) == ("site-1", "echo", {"port": 7})
        assert stream.read() == b""  # the handler has returned


def test_fifty_megabytes_arrive_as_they_were_sent(two_sites):
    block = hashlib.sha256(b"seed").digest() * 4096  # 128 KiB
    expected = hashlib.sha256()
    digests = queue.Queue()

    def digest(stream):
        found, total = hashlib.sha256(), 0
        while data := stream.read():
            found.update(data)
            total += len(data)
        digests.put((total, found.hexdigest()))
        stream.write(b"done")

    two_sites["site-2"].handle_stream("large", digest)
    with two_sites["site-1"].open_stream("site-2", "large", timeout_s=S) as stream:
        for number in range(400):
            chunk = number.to_bytes(4, "little") + block
            expected.update(chunk)
            stream.write(chunk)
        stream.close_write()
        assert digests.get(timeout=60) == (400 * (len(block) + 4), expected.hexdigest())
        assert read_all(stream) == b"done"


def test_a_slow_reader_buffers_at_most_one_window(job):
    made = job().begin()
    go, total = threading.Event(), 64 * WINDOW_BYTES
    found = queue.Queue()

    def slow(stream):
        assert go.wait(S)
        found.put(sum(len(data) for data in iter(stream.read, b"")))

    made["site-2"].handle_stream("large", slow)
    stream = made["site-1"].open_stream("site-2", "large", timeout_s=S)
    written = [0]

    def write():
        block = bytes(CHUNK_BYTES)
        while written[0] < total:
            stream.write(block)
            written[0] += len(block)
        stream.close_write()

    tracemalloc.start()
    try:
        writing = threading.Thread(target=write)
        writing.start()
        while not wait_until_stuck(writing, written):
            pass
        assert written[0] == WINDOW_BYTES
        assert tracemalloc.get_traced_memory()[1] < 8 * WINDOW_BYTES
        go.set()
        assert found.get(timeout=60) == total
        assert tracemalloc.get_traced_memory()[1] < 16 * WINDOW_BYTES
    finally:
        tracemalloc.stop()
    writing.join()
    stream.close()


def wait_until_stuck(thread, written) -> bool:
    """Return True if the thread has written nothing for a while."""
    before = written[0]
    thread.join(0.2)
    return written[0] == before > 0


def test_many_small_writes_arrive_whole(two_sites):
    two_sites["server"].handle_stream("echo", echo)
    with two_sites["site-2"].open_stream("server", "echo", timeout_s=S) as stream:
        found = queue.Queue()
        reading = threading.Thread(target=lambda: found.put(read_all(stream)))
        reading.start()
        for number in range(10_000):  # which cost more than two windows
            stream.write(bytes((number % 256,)))
        stream.close_write()
        assert found.get(timeout=60) == bytes(number % 256 for number in range(10_000))
        reading.join()


def test_an_abort_reaches_the_other_end_in_the_middle_of_a_stream(two_sites):
    errors, started = queue.Queue(), threading.Event()

    def read(stream):
        started.set()
        try:
            read_all(stream)
        except PartyError as error:
            errors.put(error)

    two_sites["site-2"].handle_stream("large", read)
    stream = two_sites["site-1"].open_stream("site-2", "large", timeout_s=S)
    stream.write(b"the beginning")
    assert started.wait(S)
    stream.abort("the disk is full")
    error = errors.get(timeout=S)
    assert str(error) == "site-1 aborted the stream 'large' with site-1: the disk is full"
    assert error.party == "site-1"
    for use in (stream.read, lambda: stream.write(b"more")):
        with pytest.raises(PartyError, match="the disk is full"):
            use()


def test_an_abort_ends_a_write_that_waits(two_sites):
    go = threading.Event()

    def give_up(stream):
        assert go.wait(S)
        stream.abort("it has seen enough")

    two_sites["site-2"].handle_stream("large", give_up)
    stream = two_sites["site-1"].open_stream("site-2", "large", timeout_s=S)
    stream.write(bytes(WINDOW_BYTES))
    go.set()
    with pytest.raises(PartyError, match="site-2 aborted the stream 'large' with site-2: it has seen enough") as caught:
        stream.write(bytes(WINDOW_BYTES))
    assert caught.value.party == "site-2"


def test_a_handler_that_raises_aborts_its_stream(two_sites):
    def fail(stream):
        raise ValueError("no such port")

    two_sites["site-2"].handle_stream("any", fail)
    stream = two_sites["site-1"].open_stream("site-2", "any", timeout_s=S)
    with pytest.raises(PartyError, match="ValueError: no such port"):
        stream.read()


def test_data_written_before_a_close_is_read_and_later_writes_of_the_other_end_fail(two_sites):
    found, errors = queue.Queue(), queue.Queue()

    def read_then_write(stream):
        found.put(read_all(stream))
        try:
            while True:
                stream.write(bytes(CHUNK_BYTES))
        except PartyError as error:
            errors.put(error)

    two_sites["site-2"].handle_stream("any", read_then_write)
    stream = two_sites["site-1"].open_stream("site-2", "any", timeout_s=S)
    stream.write(bytes(WINDOW_BYTES))
    stream.close()
    assert found.get(timeout=S) == bytes(WINDOW_BYTES)
    assert "site-1 has closed the stream 'any'" in str(errors.get(timeout=S))
    for use in (stream.read, lambda: stream.write(b"more")):
        with pytest.raises(PartyError, match="the stream 'any' with site-2 is closed"):
            use()


def test_finished_streams_are_forgotten(two_sites):
    two_sites["site-2"].handle_stream("echo", echo)
    over = queue.Queue()
    two_sites["server"].handle_stream("echo", lambda stream: (echo(stream), over.put(True)))
    for to in ("site-2", "server") * 10:
        with two_sites["site-1"].open_stream(to, "echo", timeout_s=S) as stream:
            stream.write(b"x")
            stream.close_write()
            assert read_all(stream) == b"x"
    for _ in range(10):
        over.get(timeout=S)
    with two_sites["site-1"].open_stream("server", "echo", timeout_s=S) as stream:  # its frames come after the others'
        assert sum(map(len, (hub._streams for hub in two_sites.closing))) <= 2 + len(two_sites.closing)


def test_the_loss_of_a_cell_ends_its_streams_with_the_name_of_the_party(job):
    made = job().begin()
    made["site-2"].handle_stream("any", read_all)
    made["site-1"].handle_stream("any", read_all)
    streams = [made["site-1"].open_stream("site-2", "any", timeout_s=S)]
    streams += [made["server"].open_stream("site-2", "any", timeout_s=S)]
    made.server.cell.disconnect("worker-2")
    for stream in streams:
        with pytest.raises(PartyError, match="site-2 is lost: its connection ended") as caught:
            stream.read()
        assert caught.value.party == "site-2"
        with pytest.raises(PartyError, match="site-2 is lost"):
            stream.write(b"more")
    with pytest.raises(PartyError, match="site-2 is gone: its connection ended"):
        made["site-1"].request("site-2", "any")


def test_the_end_of_the_run_ends_streams_at_both_ends(two_sites):
    errors = queue.Queue()

    def read(stream):
        try:
            read_all(stream)
        except PartyError as error:
            errors.put(str(error))

    two_sites["server"].handle_stream("any", read)
    stream = two_sites["site-2"].open_stream("server", "any", timeout_s=S)
    two_sites.hubs["site-2"].close("the run is over")
    assert errors.get(timeout=S) == "site-2 aborted the stream 'any' with site-2: the run is over"
    with pytest.raises(PartyError, match="the run is over"):
        stream.read()


def test_a_cell_that_exceeds_its_credit_loses_its_stream(job):
    made = job().begin()
    errors = queue.Queue()

    def wait_for_the_end(stream):
        try:
            while True:
                stream.write(b"x")
                go.wait(0.01)
        except PartyError as error:
            errors.put(str(error))

    go = threading.Event()
    made["site-2"].handle_stream("any", wait_for_the_end)
    greedy = made.hubs["site-1"].cell
    greedy.request("worker-2", "endpoint.open", ["site-1", "site-2", "any", 7, None], timeout_s=S)
    for _ in range(WINDOW_BYTES // CHUNK_BYTES + 1):
        greedy.send("worker-2", "endpoint.stream", Raw(bytes(CHUNK_BYTES), {"id": 7, "opener": True, "data": True}))
    assert "site-1 sent more of the stream 'any' with site-1 than its credit allows" in errors.get(timeout=S)


def test_a_cell_cannot_write_to_the_streams_of_others(job):
    made = job({"site-1": "worker-1", "site-2": "worker-2", "site-3": "worker-3"}).begin()
    made["site-2"].handle_stream("echo", echo)
    made["site-2"].handle("ping", lambda sender, data: None)
    with made["site-1"].open_stream("site-2", "echo", timeout_s=S) as stream:
        stream.write(b"one")
        assert stream.read() == b"one"
        for number in range(4):
            for opener in (True, False):
                frame = Raw(b"forged", {"id": number, "opener": opener, "data": True})
                made.hubs["site-3"].cell.send("worker-2", "endpoint.stream", frame)
        made["site-3"].send("site-2", "ping")
        made["site-3"].request("site-2", "ping", timeout_s=S)
        stream.write(b"two")
        assert stream.read() == b"two"


def test_a_stream_aborted_before_it_was_handled_is_not_handled(job):
    from flare_transport import RemoteError

    made = job().begin()
    made["site-2"].handle_stream("any", read_all)
    made["site-2"].handle("ping", lambda sender, data: None)
    cell = made.hubs["site-1"].cell
    cell.send("worker-2", "endpoint.stream", Raw(b"", {"id": 7, "opener": True, "abort": "too late"}))
    deadline = time.monotonic() + S
    while not made.hubs["site-2"]._aborted:
        made["site-1"].request("site-2", "ping", timeout_s=S)
        assert time.monotonic() < deadline
    with pytest.raises(RemoteError, match="site-1 has aborted the stream 'any' already"):
        cell.request("worker-2", "endpoint.open", ["site-1", "site-2", "any", 7, None], timeout_s=S)


def test_the_number_of_streams_between_two_cells_is_limited(job):
    from flare_runtime.endpoint.hub import MOST_STREAMS

    made = job().begin()
    go = threading.Event()
    made["site-2"].handle_stream("any", lambda stream: go.wait(S))
    streams = [made["site-1"].open_stream("site-2", "any", timeout_s=S) for _ in range(MOST_STREAMS)]
    with pytest.raises(PartyError, match=f"site-2 has {MOST_STREAMS} streams with site-1, which is the limit"):
        made["site-1"].open_stream("site-2", "any", timeout_s=S)
    for stream in streams:
        stream.close()
    go.set()

"""Tests that every kind of link must pass, as a class to subclass with pytest, which is not imported here."""

from __future__ import annotations

import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import numpy as np

from flare_transport.cell import Cell
from flare_transport.errors import AuthenticationError, PeerLostError, RemoteError, UnreachableError
from flare_transport.frames import Message, Raw
from flare_transport.stream_reader import StreamReader

WAIT_S = 20.0


class LinkConformance(ABC):
    """Tests of a kind of link; subclass it as ``TestYours`` and define :meth:`two`.

    pytest explains a failed assertion in full if a ``conftest.py`` calls
    ``pytest.register_assert_rewrite("flare_transport.testing")`` before it imports this.

    Attributes:
        refusal: pattern that the error for a wrong proof must match.
    """

    refusal = ""

    @abstractmethod
    def two(self) -> tuple[Cell, Cell]:
        """Return the linked cells ``server`` and ``site-1``; the subclass closes them after the test."""

    def with_wrong_proof(self) -> tuple[Cell, Callable[[], object]] | None:
        """Return a cell that listens, and a function that connects to it with a wrong secret or a foreign certificate.

        None, the default, is for links that need no proof.
        """
        return None

    def test_messages_of_a_topic_arrive_once_and_in_order(self) -> None:
        server, site = self.two()
        arrived: list[int] = []
        last = threading.Event()

        def note(message: Message) -> None:
            arrived.append(message.payload)
            if message.payload == 1999:
                last.set()

        server.handle("note", note)
        for number in range(2000):
            site.send("server", "note", number)
        assert last.wait(WAIT_S)
        assert arrived == list(range(2000))

    def test_small_and_large_arrays_are_received_as_writable_copies(self) -> None:
        server, site = self.two()
        large = np.arange(300_000, dtype=np.float32).reshape(3, -1)
        arrays = {"weights": large, "bias": np.zeros(0), "one": np.float64(3)}
        taken: SimpleQueue[dict[str, Any]] = SimpleQueue()
        server.handle("keep", lambda message: taken.put(message.payload))
        sent = {name: np.array(value) for name, value in arrays.items()}
        site.request("server", "keep", sent)
        sent["weights"][:] = -1  # after the reply, the sender's memory is not used any more
        received = taken.get(timeout=WAIT_S)
        for name, value in arrays.items():
            np.testing.assert_array_equal(received[name], value)
        received["weights"][0, 0] = 5

    def test_raw_bytes_are_received_into_the_requesters_buffer(self) -> None:
        server, site = self.two()
        body = np.random.default_rng(0).bytes(3_000_001)
        server.handle("bytes", lambda message: Raw(body, {"digest": 7}))
        target = bytearray(len(body))
        message = site.request("server", "bytes", into=memoryview(target))
        assert bytes(target) == body
        assert message.extra == {"digest": 7}
        short = bytearray(10)  # of another length, so the reply gets memory of its own
        assert bytes(site.request("server", "bytes", into=memoryview(short)).body) == body
        assert short == bytes(10)

    def test_bytes_of_a_stream_arrive_in_order_with_their_metadata(self) -> None:
        server, site = self.two()
        got: SimpleQueue[tuple[Any, str, bytes]] = SimpleQueue()
        server.handle_stream("file", lambda reader: got.put((reader.meta, reader.sender, reader.read())))
        data = np.random.default_rng(1).bytes(5_000_003)
        with site.open_stream("server", "file", {"name": "weights.bin"}) as stream:
            for start in range(0, len(data), 70_001):
                stream.write(data[start : start + 70_001])
        meta, sender, read = got.get(timeout=WAIT_S)
        assert (meta, sender) == ({"name": "weights.bin"}, "site-1")
        assert read == data

    def test_pending_operations_fail_when_the_link_ends(self) -> None:
        server, site = self.two()
        asked, go_on = threading.Event(), threading.Event()

        def wait(message: Message) -> None:
            asked.set()
            go_on.wait(WAIT_S)

        server.handle("wait", wait)
        lost: SimpleQueue[str] = SimpleQueue()
        site.on_peer_lost(lambda peer, error: lost.put(peer))
        pending = site.start_request("server", "wait")
        assert asked.wait(WAIT_S)
        server.close(wait=False)
        _raises(lambda: pending.result(WAIT_S), "server", PeerLostError)
        go_on.set()
        assert lost.get(timeout=WAIT_S) == "server"
        _raises(lambda: site.send("server", "wait"), "", UnreachableError, PeerLostError)

    def test_streams_fail_at_both_ends_when_the_link_ends(self) -> None:
        server, site = self.two()
        failures: SimpleQueue[PeerLostError] = SimpleQueue()
        began = threading.Event()

        def read(reader: StreamReader) -> None:
            began.set()
            try:
                reader.read()
            except PeerLostError as error:
                failures.put(error)

        server.handle_stream("file", read)
        stream = site.open_stream("server", "file", window_bytes=4096)
        assert began.wait(WAIT_S)
        site.close()
        assert "site-1" in str(failures.get(timeout=WAIT_S))
        _raises(lambda: stream.write(bytes(40_960)), "", PeerLostError)

    def test_cells_can_be_closed_during_many_operations(self) -> None:
        server, site = self.two()
        server.handle("echo", lambda message: message.payload)
        ended: SimpleQueue[Exception] = SimpleQueue()

        def ask() -> None:
            try:
                while True:
                    site.request("server", "echo", np.zeros(1000))
            except (PeerLostError, UnreachableError, RemoteError) as error:
                ended.put(error)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(20):
            site.request("server", "echo", 1)
        server.close()
        for thread in threads:
            thread.join(WAIT_S)
            assert not thread.is_alive()
        assert ended.qsize() == 4

    def test_a_wrong_proof_is_refused(self) -> None:
        if (made := self.with_wrong_proof()) is not None:
            server, connect = made
            _raises(connect, self.refusal, AuthenticationError)
            assert server.peers == ()


def _raises(call: Callable[[], object], pattern: str, *kinds: type[Exception]) -> None:
    """Check that ``call`` raises one of ``kinds``, with a text that matches ``pattern``."""
    raised = None
    try:
        call()
    except kinds as error:
        raised = error
    assert raised is not None, f"raised none of {', '.join(kind.__name__ for kind in kinds)}"
    assert re.search(pattern, str(raised)), f"{raised!r} does not match {pattern!r}"

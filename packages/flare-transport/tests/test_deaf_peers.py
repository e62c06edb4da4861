"""An authenticated peer that sends requests and never reads the replies must not affect others."""

from __future__ import annotations

import threading
from itertools import count

import pytest
import second_wire_grpc
from second_wire import REQUEST, Frame, encode

from flare_transport import Cell, Credentials, RemoteError, SocketLink
from flare_transport.certificates import issue, make_authority

ANSWER_BYTES = 30_000
MOST_REQUESTS = 10_000  # far more than fit into the queues


class DeafLane(second_wire_grpc.Lane):
    """Sends without regard to acknowledgements, and never reads."""

    def _read(self, call) -> None:
        self.link.over.wait(60)

    def _send(self, chunk: bytes) -> None:
        self._outgoing.put(chunk)


class DeafLink(second_wire_grpc.GrpcLink):
    def __init__(self, address: str, name: str, credentials: Credentials, monkeypatch) -> None:
        self.over = threading.Event()
        monkeypatch.setattr(second_wire_grpc, "Lane", DeafLane)
        files = (credentials.certificate, credentials.private_key, credentials.authority)
        super().__init__(address, name, certificates=files, peer="server")

    def ask(self, topic: str, number: int, *, to: str = "server") -> None:
        parts = [bytes(part) for part in encode([])]
        lengths = [len(part) for part in parts]
        self.send(Frame(REQUEST, to, self.name, topic, number, lengths, None, b"".join(parts)))

    def close(self) -> None:
        self.over.set()
        for lane in self.lanes:
            lane.cut()
        self._channel.close()


@pytest.fixture
def authority():
    return make_authority("test")


@pytest.fixture
def server(authority):
    ended = threading.Event()
    with Cell("server", threads=4) as cell:
        cell.handle("large", lambda message: b"x" * ANSWER_BYTES)
        cell.handle("inline", lambda message: b"x" * ANSWER_BYTES, inline=True)
        cell.on_peer_lost(lambda peer, error: ended.set() if peer == "deaf" else None)
        cell.ended = ended
        cell.address = cell.listen("grpc://127.0.0.1:0", credentials=issue(authority, "server"))
        yield cell


@pytest.mark.parametrize("topic", ["large", "inline"])
def test_a_peer_that_reads_no_replies_does_not_block_others(server, authority, topic, monkeypatch):
    deaf = DeafLink(server.address, "deaf", issue(authority, "deaf"), monkeypatch)
    with Cell("other") as other:
        other.connect(server.address, credentials=issue(authority, "other"), peer="server")
        numbers = count(1)
        while not server.ended.is_set() and (number := next(numbers)) < MOST_REQUESTS:
            deaf.ask(topic, number)
            if number % 250 == 0:
                assert len(other.request("server", "large", timeout_s=10).payload) == ANSWER_BYTES
        with pytest.raises(RemoteError, match="does not serve 'nothing'"):
            other.request("server", "nothing", timeout_s=10)
        assert len(other.request("server", "large", timeout_s=10).payload) == ANSWER_BYTES
    deaf.close()


def test_a_peer_that_reads_no_forwarded_replies_does_not_block_others(server, authority, monkeypatch):
    with Cell("server.job", threads=4) as job, Cell("other") as other:
        job.handle("large", lambda message: b"x" * ANSWER_BYTES)
        here, there = SocketLink.pair("server", "server.job")
        server.attach(here)
        job.attach(there, uplink=True)
        other.connect(server.address, credentials=issue(authority, "other"), peer="server")
        deaf = DeafLink(server.address, "deaf", issue(authority, "deaf"), monkeypatch)
        numbers = count(1)
        while not server.ended.is_set() and (number := next(numbers)) < MOST_REQUESTS:
            deaf.ask("large", number, to="server.job")
            if number % 250 == 0:
                assert len(other.request("server.job", "large", timeout_s=10).payload) == ANSWER_BYTES
        assert server.ended.wait(20), "replies that nobody reads must not fill the memory"
        assert len(other.request("server.job", "large", timeout_s=10).payload) == ANSWER_BYTES
        deaf.close()

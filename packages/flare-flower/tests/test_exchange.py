"""Each request is performed once, though streams break before, while and after it is."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

import pytest

from flare_core import PartyError
from flare_flower import exchange
from flare_flower.exchange import ServerEnd, SiteEnd
from flare_flower.loopback import Request, Response


class Pipe:
    """One end of a stream in memory, which breaks after so many bytes were written to it."""

    def __init__(self, peer: str, meta=None) -> None:
        self.peer, self.topic, self.meta = peer, exchange.TOPIC, meta
        self.other: Pipe
        self.left: float = float("inf")
        self._data = bytearray()
        self._changed = threading.Condition()
        self._has_ended = self._is_broken = False

    def read(self, most: int = -1) -> bytes:
        with self._changed:
            self._changed.wait_for(lambda: self._data or self._has_ended or self._is_broken, 10)
            if self._is_broken:
                raise PartyError("the link is cut", party=self.peer)
            data = bytes(self._data)
            self._data.clear()
            return data

    def write(self, data) -> None:
        if len(data) > self.left:
            self.break_both()
            raise PartyError("the link is cut", party=self.peer)
        self.left -= len(data)
        with self.other._changed:
            self.other._data += data
            self.other._changed.notify_all()

    def close_write(self) -> None:
        with self.other._changed:
            self.other._has_ended = True
            self.other._changed.notify_all()

    def break_both(self) -> None:
        for each in (self, self.other):
            with each._changed:
                each._is_broken = True
                each._changed.notify_all()

    def __enter__(self):
        return self

    def __exit__(self, *error) -> None:
        self.close_write()


class Endpoint:
    """A site's endpoint whose first streams break after a number of bytes up, or down."""

    def __init__(self, server: ServerEnd, *breaks: tuple[float, float]) -> None:
        self.server, self.breaks, self.streams = server, list(breaks), 0

    def open_stream(self, to, topic, meta=None, *, timeout_s=None) -> Pipe:
        self.streams += 1
        ours, theirs = Pipe("server"), Pipe("site-1", meta)
        ours.other, theirs.other = theirs, ours
        if self.breaks:
            ours.left, theirs.left = self.breaks.pop(0)
        threading.Thread(target=self._serve, args=(theirs,), daemon=True).start()
        return ours

    def _serve(self, stream: Pipe) -> None:
        try:
            with stream:
                self.server.serve(stream)
        except PartyError:
            pass


class CountingGate:
    """Answers with the number of times that it was asked, and the body."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()

    def of_node(self, site: str, request: Request, is_wanted: Callable[[], bool]) -> Response:
        self.asked[request.path] += 1
        return Response(200, {"content-type": "x"}, f"{self.asked[request.path]}".encode() + request.body)


FINE = float("inf")


@pytest.fixture
def gate(monkeypatch):
    monkeypatch.setattr(exchange, "RETRY_S", 0.01)
    return CountingGate()


def site(gate: CountingGate, *breaks: tuple[float, float]) -> tuple[SiteEnd, Endpoint]:
    endpoint = Endpoint(ServerEnd(lambda: gate), *breaks)
    return SiteEnd(endpoint, threading.Event()), endpoint


@pytest.mark.parametrize(
    "breaks",
    [
        [],
        [(0, FINE)],  # before the request has gone
        [(FINE, 0)],  # when the response begins
        [(FINE, 30)],  # in the middle of it
        [(0, FINE), (FINE, 0), (FINE, 30), (0, FINE)],
    ],
)
def test_a_request_is_performed_once_wherever_its_streams_break(gate, breaks):
    end, endpoint = site(gate, *breaks)
    found = end.answer(Request("/v1/fleet/push-object", {"a": "b"}, b"-" * 100))
    assert found == Response(200, {"content-type": "x"}, b"1" + b"-" * 100)
    assert gate.asked == {"/v1/fleet/push-object": 1}
    assert endpoint.streams == 1 + len(breaks)


def test_responses_that_have_arrived_are_forgotten(gate):
    end, endpoint = site(gate)
    for _ in range(20):
        end.answer(Request("/v1/fleet/get-run"))
    (node,) = endpoint.server._nodes.values()
    assert len(node.exchanges) == 1


def test_a_request_ends_with_the_run(gate):
    end, _ = site(gate, *[(0, FINE)] * 1000)
    end._cancelled.set()
    with pytest.raises(PartyError):
        end.answer(Request("/v1/fleet/get-run", {}, b"x"))


def test_a_body_without_an_end_is_refused(gate, monkeypatch):
    monkeypatch.setattr(exchange, "MOST_BYTES", 1000)
    end, _ = site(gate)
    with pytest.raises(PartyError, match="more than"):
        exchange.read_all(_long())
    assert end.answer(Request("/v1/fleet/get-run", {}, b"x" * 900)).body == b"1" + b"x" * 900


def _long() -> Pipe:
    near, far = Pipe("site-1"), Pipe("server")
    near.other, far.other = far, near
    far.write(b"x" * 2000)
    return near

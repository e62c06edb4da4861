"""Interoperability with a second implementation of the protocol, written from docs/wire.md alone.

So the document, and not only the code, says what is on the wire; and the wire cannot change without the document.
"""

from __future__ import annotations

import datetime
import threading
from queue import SimpleQueue

import grpc
import numpy as np
import pytest
from second_wire import ERROR, LOST, MESSAGE, REQUEST, STREAM, FailedError, Frame, LinkEndedError, UnixLink
from second_wire_cell import Reader, Seal, SecondCell, Writer
from second_wire_grpc import GrpcLink

from flare_transport import PeerLostError, Raw, RemoteError
from flare_transport.certificates import issue, make_authority

WAIT_S = 20
WINDOW = 65_536
AUTHORITY = make_authority("test authority")
VALUES = {
    "plain": [None, True, -5, 1.5, "text", b"bytes", {3: "three", (1, 2): "pair"}],
    "integers": [1 << 63, (1 << 64) - 1, -(1 << 63), 1 << 64, -(1 << 63) - 1, 3**100, -(3**100)],
    "tuple": (1, (2, []), ()),
    "datetime": datetime.datetime(
        2024, 2, 29, 13, 1, 2, 345, datetime.timezone(datetime.timedelta(hours=-3, minutes=30))
    ),
    "naive": datetime.datetime(1999, 12, 31, 23, 59, 59, fold=1),
}
ARRAYS = [
    np.arange(6, dtype=np.int16).reshape(2, 3),
    np.arange(40_001, dtype=np.float32).reshape(1, -1),
    np.array(True),
    np.zeros((0, 4), np.uint8),
    np.arange(24.0).reshape(2, 3, 4).transpose(),
    np.arange(1001, dtype=np.int64)[::-1],
    np.float64(2.5),
]

pytestmark = pytest.mark.timeout(60)


class Place:
    """A cell that listens with a secret, for the second implementation to connect to."""

    def __init__(self, network, kind: str) -> None:
        self.network, self.secret = network, network.secret
        self.cell = network.cell("server", forwards=lambda sender, to: "nowhere" not in (sender, to))
        address = f"unix://{network.folder}/second" if kind == "unix" else "grpc://127.0.0.1:0"
        self.address = self.cell.listen(address, secret=self.secret)
        self.link = UnixLink if kind == "unix" else GrpcLink

    def connect(self, name: str = "site-1", secret: bytes | None = None, **arguments) -> SecondCell:
        """Connect, and wait until the cell has the link."""
        second = SecondCell(name, self.link(self.address, name, secret=secret or self.secret, **arguments))
        self.cell.handle("settle", lambda message: None)
        second.request("settle")
        return second


@pytest.fixture(params=["unix", "grpc"])
def place(request, make_network):
    return Place(make_network("unix"), request.param)


@pytest.fixture
def unix_place(make_network):
    return Place(make_network("unix"), "unix")


@pytest.fixture
def grpc_place(make_network):
    return Place(make_network("unix"), "grpc")


def check_arrays(found, expected=ARRAYS) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        np.testing.assert_array_equal(one, other)


def in_thread(function, *arguments) -> threading.Thread:
    thread = threading.Thread(target=function, args=arguments)
    thread.start()
    return thread


def test_objects_and_arrays_in_requests_in_both_directions(place):
    place.cell.handle("echo", lambda message: message.payload)
    with place.connect() as second:
        assert second.peer == "server"
        assert second.request("echo") is None
        assert second.request("echo", VALUES) == VALUES
        check_arrays(second.request("echo", ARRAYS))
        pending = place.cell.start_request("site-1", "give", [VALUES, ARRAYS])
        request = second.take(REQUEST, topic="give")
        values, arrays = request.payload
        assert values == VALUES
        check_arrays(arrays)
        second.reply(request, [values, arrays])
        values, arrays = pending.result(WAIT_S).payload
        assert values == VALUES
        check_arrays(arrays)


def test_raw_bytes_with_small_values(place):
    place.cell.handle("raw", lambda message: Raw(bytes(message.body)[::-1], {"given": message.extra}))
    with place.connect() as second:
        request = Frame(REQUEST, "server", "site-1", "raw", 77, None, {"x": 1}, b"abc")
        second.link.send(request)
        answer = second.answer_to(request)
        assert (answer.body, answer.extra, answer.lengths) == (b"cba", {"given": {"x": 1}}, None)


def test_errors_in_both_directions(place):
    def fail(message):
        raise ValueError("that was too much")

    place.cell.handle("fail", fail)
    with place.connect() as second:
        with pytest.raises(FailedError) as failed:
            second.request("fail", 1)
        assert failed.value.args == ("ValueError", "that was too much")
        pending = place.cell.start_request("site-1", "ask")
        second.reply(second.take(REQUEST, topic="ask"), {"kind": "Odd", "message": "not today"}, kind=ERROR)
        with pytest.raises(RemoteError, match="not today") as raised:
            pending.result(WAIT_S)
        assert raised.value.kind == "Odd"


def test_a_frame_without_a_route_is_answered_with_lost(place):
    with place.connect() as second:
        second.link.send(second.frame(REQUEST, "ask", to="nowhere", id=second.number()))
        lost = second.take(LOST)
        assert (lost.topic, lost.to, lost.lengths) == ("nowhere", "site-1", None)
        assert lost.body.decode()
        pending = place.cell.start_request("site-1.job", "ask")
        request = second.take(REQUEST, topic="ask")
        assert request.to == "site-1.job"
        second.link.send(Frame(LOST, request.sender, "site-1", request.to, 0, None, None, b"no such job"))
        with pytest.raises(PeerLostError, match="no such job"):
            pending.result(WAIT_S)


@pytest.mark.parametrize("check", [True, False])
def test_a_wrong_secret_is_refused_over_a_socket(unix_place, check):
    """The connector checks first; the listener checks, too, if the connector continues nevertheless."""
    with pytest.raises(FailedError if not check else AssertionError) as refused:
        unix_place.connect(secret=b"another secret entirely", check=check)
    assert check or refused.value.args[0] == "proof"
    assert unix_place.cell.peers == ()


@pytest.mark.parametrize("check", [True, False])
def test_a_wrong_secret_is_refused_over_grpc(grpc_place, check):
    """The bulk lane is not opened: it would be refused with another status."""
    if check:
        with pytest.raises(AssertionError):
            grpc_place.connect(secret=b"another secret entirely")
    else:
        wrong = {"secret": b"another secret entirely", "check": False, "lanes": ("prompt",)}
        with SecondCell("site-1", GrpcLink(grpc_place.address, "site-1", **wrong)) as second:
            with pytest.raises(LinkEndedError) as refused:
                second.take(MESSAGE)
            assert refused.value.__cause__.code().name == "UNAUTHENTICATED"
    assert grpc_place.cell.peers == ()


def test_a_grpc_connector_that_sends_no_proof_is_disconnected(grpc_place, monkeypatch):
    """It must not reserve a name either, or it could lock out the owner of that name forever."""
    monkeypatch.setattr("flare_transport.links.grpc_listener.HANDSHAKE_S", 0.5)
    metadata = (("flare-version", "3"), ("flare-cell", "site-1"), ("flare-nonce-bin", bytes(32)))
    over = threading.Event()  # until then the connector sends nothing and stays connected
    with grpc.insecure_channel(grpc_place.address.removeprefix("grpc://")) as channel:
        stream = channel.stream_stream("/flare.Link/Open")

        def begin(lane: str, *more):
            return stream(iter(over.wait, True), metadata=(*metadata, ("flare-lane", lane), *more), timeout=WAIT_S)

        prompt = begin("prompt")
        token = dict(prompt.initial_metadata())["flare-link-bin"]
        bulk = begin("bulk", ("flare-link-bin", token), ("flare-received", "0"))
        assert (prompt.code().name, bulk.code().name) == ("UNAUTHENTICATED", "NOT_FOUND")
        assert "did not prove its name" in prompt.details()
        over.set()
    with grpc_place.connect("site-1"):
        assert grpc_place.cell.peers == ("site-1",)


def test_a_stream_to_the_cell_waits_for_its_credit(place):
    data = np.random.default_rng(1).bytes(1_500_003)
    got: SimpleQueue = SimpleQueue()
    place.cell.handle_stream("file", lambda reader: got.put((reader.meta, reader.sender, reader.read())))
    with place.connect() as second:
        writer = Writer(second, "file", WINDOW, ["weights", ARRAYS])
        writer.write(data, 16_000)
        writer.close()
        assert writer.waits
        (name, arrays), sender, read = got.get(timeout=WAIT_S)
        assert (name, sender, read) == ("weights", "site-1", data)
        check_arrays(arrays)


def test_chunks_may_arrive_early_twice_or_in_small_pieces(place):
    got: SimpleQueue = SimpleQueue()
    place.cell.handle_stream("file", lambda reader: got.put(reader.read()))
    with place.connect() as second:
        writer = Writer(second, "file", WINDOW)
        writer.say({"at": 3}, b"defg")
        writer.say({"at": 0}, b"abc")
        writer.say({"at": 0}, b"abc")
        writer.at, writer.credit = 7, writer.credit - 3 * 256
        writer.write(b"hijk" * 200, 1)
        writer.close()
        assert got.get(timeout=WAIT_S) == b"abcdefg" + b"hijk" * 200


def test_exceeding_the_window_ends_the_link(unix_place):
    """A chunk of one byte costs 256, so a window of 4,096 allows 16 unread chunks."""
    lost, go_on = threading.Event(), threading.Event()
    unix_place.cell.handle_stream("file", lambda reader: go_on.wait(WAIT_S))
    unix_place.cell.on_peer_lost(lambda peer, error: lost.set())
    with unix_place.connect() as second:
        writer = Writer(second, "file", 4096)
        writer.write(bytes(16), 1)
        second.request("settle")
        writer.say({"at": 16}, b"x")
        assert lost.wait(WAIT_S)
        go_on.set()
        with pytest.raises(LinkEndedError):
            second.take(MESSAGE)


def test_a_stream_from_the_cell_waits_for_credit(place):
    data = np.random.default_rng(2).bytes(WINDOW + 1_500_003)
    with place.connect() as second, place.cell.open_stream("site-1", "file", ARRAYS, window_bytes=WINDOW) as stream:
        stream.write(data[:WINDOW])
        reader = Reader(second, "file")
        while len(reader.data) < WINDOW:
            reader.step()
        assert (reader.window, reader.spent) == (WINDOW, WINDOW)
        check_arrays(reader.meta)

        def write_on():
            stream.write(data[WINDOW:])
            stream.close()

        thread = in_thread(write_on)
        for _ in range(3):
            second.request("settle")
        assert not [frame for frame in second.early if frame.kind == STREAM]
        reader.give(WINDOW)
        assert reader.read_all() == data
        thread.join(WAIT_S)


def test_failures_of_streams_reach_the_other_end(place):
    def read(reader):
        reader.read(10)
        raise OSError("the disk is full")

    place.cell.handle_stream("full", read)
    with place.connect() as second:
        writer = Writer(second, "full", WINDOW)
        with pytest.raises(FailedError) as failed:
            writer.write(bytes(1_000_000), 10_000)
        assert failed.value.args == ("OSError", "the disk is full")
        stream = place.cell.open_stream("site-1", "file")
        Reader(second, "file").say({"stop": ["Odd", "not today"]})
        with pytest.raises(RemoteError, match="not today"):
            stream.close()
        place.cell.open_stream("site-1", "other").abort("the file is gone")
        with pytest.raises(FailedError, match="the file is gone"):
            Reader(second, "other").step()


@pytest.mark.parametrize("cut", [[0], [1], [0, 1]])
def test_a_broken_grpc_stream_is_resumed_without_loss(grpc_place, cut):
    """Lanes break with data in flight in both directions; messages of each lane arrive once and in order."""
    got: SimpleQueue = SimpleQueue()
    grpc_place.cell.handle("note", lambda message: got.put(message.payload))
    grpc_place.cell.handle("large", lambda message: message.payload[0])
    large = np.arange(100_000)
    bulk = np.arange(10_000)  # a cell with a broken lane queues little more before send blocks
    lost = threading.Event()
    grpc_place.cell.on_peer_lost(lambda peer, error: lost.set())
    with grpc_place.connect() as second:

        def ask(numbers, array):
            """Send messages and large requests in both directions; return the requests and the pending replies."""
            requests, pending = [], []
            for number in numbers:
                second.send("note", number)
                grpc_place.cell.send("site-1", "note", number)
                request = second.frame(REQUEST, "large", [number, array], id=second.number())
                second.link.send(request)
                requests.append(request)
                pending.append(grpc_place.cell.start_request("site-1", "large", [number, array]))
            return requests, pending

        before = ask(range(4), large)
        lanes = [second.link.lanes[number] for number in cut]
        for lane in lanes:
            lane.cut()
        during = ask(range(4, 6), bulk)
        for lane in lanes:
            lane.open()
        assert all(lane.resent for lane in lanes)
        after = ask(range(6, 8), large)
        requests = before[0] + during[0] + after[0]
        assert [second.answer_to(request).payload for request in requests] == list(range(8))
        for number in range(8):
            request = second.take(REQUEST, topic="large")
            assert request.payload[0] == number
            second.reply(request, request.payload)
        for number, each in enumerate(before[1] + during[1] + after[1]):
            found, array = each.result(WAIT_S).payload
            assert found == number
            check_arrays([array], [bulk if number in (4, 5) else large])
        assert [second.take(MESSAGE, topic="note").payload for _ in range(8)] == list(range(8))
        assert [got.get(timeout=WAIT_S) for _ in range(8)] == list(range(8))
        second.request("settle")
        assert got.empty()
        assert not second.early
        assert not lost.is_set()


def test_more_bytes_than_a_lane_keeps_unacknowledged(grpc_place):
    """Completes only if both ends acknowledge; frames are longer than a chunk."""
    large = np.arange(700_000)
    data = bytes(range(256)) * (10 << 12) * 2
    assert len(data) > 16 << 20
    grpc_place.cell.handle("echo", lambda message: message.payload)
    grpc_place.cell.handle_stream("file", lambda reader: got.put(reader.read()))
    got: SimpleQueue = SimpleQueue()
    with grpc_place.connect() as second:
        check_arrays([second.request("echo", large)], [large])
        writer = Writer(second, "file", 4 << 20)
        writer.write(data)
        writer.close()
        assert got.get(timeout=WAIT_S) == data
        stream = grpc_place.cell.open_stream("site-1", "file", window_bytes=4 << 20)

        def write():
            stream.write(data)
            stream.close()

        thread = in_thread(write)
        assert Reader(second, "file").read_all() == data
        thread.join(WAIT_S)
        assert not thread.is_alive()


def test_an_unknown_token_is_refused(grpc_place):
    with grpc_place.connect() as second:
        lane = second.link.lanes[0]
        lane.cut()
        known, second.link.token = second.link.token, bytes(16)
        with pytest.raises(FailedError) as failed:
            lane.open()
        assert failed.value.args[0] == "NOT_FOUND"
        second.link.token = known
        lane.open()
        second.request("settle")


def test_a_lane_can_be_ended_and_a_second_link_is_refused(grpc_place):
    lost = threading.Event()
    grpc_place.cell.on_peer_lost(lambda peer, error: lost.set())
    with grpc_place.connect():
        with pytest.raises(FailedError) as failed:
            grpc_place.connect()
        assert failed.value.args[0] == "ALREADY_EXISTS"
        assert not lost.is_set()
    assert lost.wait(WAIT_S)


@pytest.mark.parametrize("name", ["site-1", "Ward_3.job+1"])
def test_certificates_prove_both_names(make_network, name):
    cell = make_network("grpc").cell(name)
    given = issue(AUTHORITY, name.partition(".")[0])
    address = cell.listen("grpc://127.0.0.1:0", credentials=given)
    cell.handle("echo", lambda message: [message.sender, message.payload])
    ours = issue(AUTHORITY, "site-2")
    proofs = (ours.certificate, ours.private_key, ours.authority)
    link = GrpcLink(address, "site-2.job", certificates=proofs, peer=name.partition(".")[0])
    with SecondCell("site-2.job", link) as second:
        assert second.peer == name
        answer = second.request("echo", ARRAYS)
        assert answer[0] == "site-2.job"
        check_arrays(answer[1])
    with pytest.raises(FailedError) as failed:
        GrpcLink(address, "site-3", certificates=proofs, peer=name.partition(".")[0])
    assert failed.value.args[0] == "UNAUTHENTICATED"


@pytest.mark.parametrize("to", ["server", "site-2"])
def test_a_sealed_request(place, to):
    """Send it to the cell at the other end of the link, and to one that it forwards to."""
    cell = place.cell
    if to != "server":
        cell = place.network.cell(to)
        cell.connect(
            place.address, secret=place.secret, uplink=True, **({"peer": "server"} if place.link is GrpcLink else {})
        )
        place.network.settle(place.cell, cell)

    def fail(message):
        raise ValueError("secret, too")

    cell.handle("echo", lambda message: [message.was_sealed, message.payload])
    cell.handle("raw", lambda message: Raw(bytes(message.body)[::-1], {"given": message.extra}))
    cell.handle("fail", fail)
    cell.seal_with(issue(AUTHORITY, to))
    ours = issue(AUTHORITY, "site-1")
    with place.connect() as second:
        seal = Seal(second, to, ours.certificate, ours.private_key, ours.authority)
        for _ in range(3):
            sealed, arrays = seal.request("echo", ARRAYS).payload
            assert sealed
            check_arrays(arrays)
        answer = seal.exchange(Frame(REQUEST, to, "site-1", "raw", second.number(), None, {"x": 1}, b"abc"))
        assert (answer.body, answer.extra, answer.lengths) == (b"cba", {"given": {"x": 1}}, None)
        answer = seal.request("fail")
        assert (answer.kind, answer.payload["message"]) == (ERROR, "secret, too")
        request = seal.close(second.frame(REQUEST, "echo", 1, to=to, id=second.number()))
        changed = Frame(*request.fields, body=request.body[:-1] + bytes([request.body[-1] ^ 1]))
        second.link.send(changed)
        with pytest.raises(FailedError, match="changed on its way"):
            second.answer_to(changed)

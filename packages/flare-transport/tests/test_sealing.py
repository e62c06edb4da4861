"""Sealed messages, which only the two ends can read."""

from __future__ import annotations

import threading
from queue import SimpleQueue

import numpy as np
import pytest

from flare_transport import AuthenticationError, Cell, ProtocolError, Raw, RemoteError
from flare_transport.certificates import issue, make_authority
from flare_transport.frames import Kind, Message, pack, repack
from flare_transport.sealing import Session

WAIT_S = 20
AUTHORITY = make_authority("test authority")
STRANGER = make_authority("another authority")
SECRET_TEXT = "the patient's name"


class Hub:
    """Two sites that communicate through a server, which records every frame that it forwards."""

    def __init__(self, network) -> None:
        self.network = network
        self.server = network.cell("server", forwards=lambda sender, to: True)
        self.one, self.two = self.site("site-1"), self.site("site-2")
        self.seen: list[tuple[list, bytes]] = []
        forward = self.server._forwarder.forward

        def spy(source, header, body):
            self.seen.append((list(header), bytes(body)))
            forward(source, header, body)

        self.server._forwarder.forward = spy

    def site(self, name: str) -> Cell:
        cell = self.network.cell(name)
        cell.connect(self.network.listen(self.server), uplink=True, **self.network.proof(cell, "server"))
        self.network.settle(self.server, cell)
        return cell


@pytest.fixture(params=["unix", "grpc"])
def hub(request, make_network):
    made = Hub(make_network(request.param))
    made.two.handle("settle", lambda message: None)
    for cell in (made.one, made.two):
        cell.seal_with(issue(AUTHORITY, cell.name))
    return made


def test_sealed_messages_are_forwarded_unread(hub):
    hub.two.handle("echo", lambda message: [message.was_sealed, message.payload])
    payload = {"text": SECRET_TEXT, "w": np.arange(1000.0)}
    sealed, found = hub.one.request("site-2", "echo", payload, sealed=True, timeout_s=WAIT_S).payload
    assert sealed
    assert found["text"] == SECRET_TEXT
    np.testing.assert_array_equal(found["w"], payload["w"])
    assert not any(SECRET_TEXT.encode() in body for _, body in hub.seen)
    assert hub.one.request("site-2", "echo", 1, timeout_s=WAIT_S).payload == [False, 1]


def test_messages_raw_bytes_and_errors_can_be_sealed(hub):
    notes: SimpleQueue = SimpleQueue()
    hub.two.handle("note", lambda message: notes.put((message.was_sealed, message.payload)))
    for number in range(50):
        hub.one.send("site-2", "note", number, sealed=True)
    assert [notes.get(timeout=WAIT_S) for _ in range(50)] == [(True, number) for number in range(50)]
    hub.two.handle("raw", lambda message: Raw(bytes(message.body)[::-1], {"digest": 7, "given": message.extra}))
    reply = hub.one.request("site-2", "raw", Raw(b"abc", {"x": 1}), sealed=True, timeout_s=WAIT_S)
    assert bytes(reply.body) == b"cba"
    assert reply.extra == {"digest": 7, "given": {"x": 1}}

    def fail(message):
        raise ValueError(SECRET_TEXT)

    hub.two.handle("fail", fail)
    with pytest.raises(RemoteError, match=SECRET_TEXT):
        hub.one.request("site-2", "fail", sealed=True, timeout_s=WAIT_S)
    assert not any(SECRET_TEXT.encode() in body for _, body in hub.seen)


def test_both_ends_can_start_at_once(hub):
    for cell in (hub.one, hub.two):
        cell.handle("echo", lambda message: message.payload)
    failures: list = []

    def ask(cell, peer):
        try:
            for number in range(20):
                assert cell.request(peer, "echo", number, sealed=True, timeout_s=WAIT_S).payload == number
        except BaseException as error:
            failures.append(error)

    threads = [
        threading.Thread(target=ask, args=each) for each in ((hub.one, "site-2"), (hub.two, "site-1")) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures


@pytest.mark.parametrize("change", ["body", "counter", "topic", "sender"])
def test_a_sealed_frame_modified_in_transit_is_refused(hub, change):
    hub.two.handle("echo", lambda message: message.payload)
    hub.two.handle("other", lambda message: message.payload)
    hub.one.request("site-2", "echo", 1, sealed=True, timeout_s=WAIT_S)
    spy = hub.server._forwarder.forward

    def change_it(source, header, body):
        if header[0] == 1 and (header[6] or {}).get("seal"):
            header, body = list(header), bytearray(body)
            if change == "body":
                body[-1] ^= 1
            elif change == "counter":
                body[7] ^= 1
            elif change == "topic":
                header[3] = "other"
        spy(source, header, body)

    if change == "sender":
        third = hub.site("site-3")
        header, body = next(each for each in hub.seen if each[0][0] == 1 and (each[0][6] or {}).get("seal"))
        header[2] = "site-3"
        pending = third._replies.begin(third._links.by_peer["server"], "site-2")
        header[4] = pending.number
        third._links.by_peer["server"].send(repack(header, body))
        with pytest.raises(RemoteError, match="share no such keys"):
            pending.result(WAIT_S)
        return
    hub.server._forwarder.forward = change_it
    with pytest.raises(RemoteError, match="changed on its way"):
        hub.one.request("site-2", "echo", 2, sealed=True, timeout_s=WAIT_S)


def test_a_replayed_sealed_frame_is_refused(hub):
    notes: list = []
    done = threading.Event()

    def note(message):
        notes.append(message.payload)
        if message.payload == "end":
            done.set()

    hub.two.handle("note", note)
    hub.one.send("site-2", "note", 1, sealed=True)
    hub.one.send("site-2", "note", "end")
    assert done.wait(WAIT_S)
    done.clear()
    header, body = next(each for each in hub.seen if each[0][3] == "note")
    for _ in range(3):
        hub.server._links.by_peer["site-2"].send(repack(header, body))
    hub.server.request("site-2", "settle", timeout_s=WAIT_S)  # the frames have arrived
    hub.one.send("site-2", "note", 2, sealed=True)
    hub.one.send("site-2", "note", "end")
    assert done.wait(WAIT_S)
    assert notes == [1, "end", 2, "end"]


def test_a_forwarding_server_cannot_impersonate_a_cell(make_network):
    """The server answers the hello itself, with its own certificate."""
    hub = Hub(make_network("unix"))
    hub.one.seal_with(issue(AUTHORITY, "site-1"))
    imposter = Cell("site-2")
    imposter.seal_with(issue(STRANGER, "site-2"))
    answer = imposter._handlers["seal.hello"][0]

    def intercept(source, header, body):
        if header[3] == "seal.hello":
            message = Message(header, body)
            try:
                outcome = answer(message)
            except AuthenticationError:
                outcome = [issue(STRANGER, "site-2").certificate, b"\x04" + bytes(64), b"signature", bytes(16)]
            source.send(pack(Kind.REPLY, "site-1", "site-2", "seal.hello", message.id, outcome))

    hub.server._forwarder.forward = intercept
    with pytest.raises(AuthenticationError, match="site-2"):
        hub.one.request("site-2", "echo", SECRET_TEXT, sealed=True, timeout_s=WAIT_S)
    imposter.close()


def test_the_certificate_must_match_the_name_and_the_authority(hub):
    three = hub.site("site-3")
    with pytest.raises(AuthenticationError, match="site-3"):
        three.seal_with(issue(AUTHORITY, "site-4"))
    three.seal_with(issue(STRANGER, "site-3"))
    with pytest.raises(RemoteError, match="is not trusted here"):
        three.request("site-2", "echo", 1, sealed=True, timeout_s=WAIT_S)


def test_cells_without_credentials_cannot_seal(make_network):
    hub = Hub(make_network("unix"))
    with pytest.raises(AuthenticationError, match="seal_with"):
        hub.one.send("site-2", "note", 1, sealed=True)
    hub.one.seal_with(issue(AUTHORITY, "site-1"))
    with pytest.raises(RemoteError, match=r"does not serve 'seal\.hello'"):
        hub.one.request("site-2", "echo", 1, sealed=True, timeout_s=WAIT_S)


def test_new_keys_are_agreed_on_with_a_restarted_peer(hub):
    hub.two.handle("echo", lambda message: message.payload)
    assert hub.one.request("site-2", "echo", 1, sealed=True, timeout_s=WAIT_S).payload == 1
    lost = threading.Event()
    hub.one.on_peer_lost(lambda peer, error: lost.set())
    hub.two.close()
    assert lost.wait(WAIT_S)
    again = hub.site("site-2")
    again.seal_with(issue(AUTHORITY, "site-2"))
    again.handle("echo", lambda message: -message.payload)
    assert hub.one.request("site-2", "echo", 1, sealed=True, timeout_s=WAIT_S).payload == -1


def test_a_reply_that_arrived_before_its_sender_was_lost_can_be_opened(hub):
    hub.two.handle("echo", lambda message: message.payload)
    pending = hub.one.start_request("site-2", "echo", 1, sealed=True)
    assert pending._done.wait(WAIT_S)  # the reply has arrived and is not opened yet
    lost = threading.Event()
    hub.one.on_peer_lost(lambda peer, error: lost.set())
    hub.two.close()
    assert lost.wait(WAIT_S)
    assert pending.result(WAIT_S).payload == 1


def test_counters_may_arrive_out_of_order_but_only_once():
    session = Session(b"", "site-1", None, None)
    for counter in (3, 1, 2, 5000, 4999):
        session.take(counter)
    for counter in (3, 1, 5000, 4):  # the last is below the window of remembered counters
        with pytest.raises(ProtocolError, match="twice"):
            session.take(counter)

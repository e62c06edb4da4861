"""Garbage on every input of a cell: the sender is refused or loses its link, and others are still served."""

from __future__ import annotations

import gc
import socket
import ssl
import threading
from contextlib import suppress

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flare_core import FlareError
from flare_transport import ProtocolError, RemoteError, SocketLink
from flare_transport.certificates import identity_host
from flare_transport.frame_reader import FrameReader
from flare_transport.frames import Kind, Message, pack
from flare_transport.inbound import MAX_STRANDS
from flare_transport.workers import Strand

EACH = settings(max_examples=max(15, settings().max_examples // 5), suppress_health_check=list(HealthCheck))
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=8) | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


class Taker:
    """A receiver that decodes every frame."""

    congested = False

    def wait_until_clear(self) -> None:
        """Return at once."""

    def destination(self, header, size):
        return None

    def deliver(self, header, body):
        with suppress(FlareError):
            _ = Message(header, body).payload


@st.composite
def damaged(draw):
    """Bytes of frames, modified at a few offsets."""
    frames = [
        pack(Kind.REQUEST, "server", "site-1", "topic", 5, ["train", {"w": [1.5] * 9}]),
        pack(Kind.STREAM, "server", "site-1", "topic", 6, None),
        pack(Kind.LOST, "server", "site-1", "site-1.x", 0, None),
    ]
    data = bytearray(b"".join(bytes(buffer) for frame in frames for buffer in frame.buffers))
    for _ in range(draw(st.integers(1, 5))):
        place = draw(st.integers(0, len(data)))
        data[place : place + draw(st.integers(0, 4))] = draw(st.binary(max_size=5))
    return bytes(data)


@given(data=damaged(), step=st.integers(1, 80))
def test_fuzz_damaged_frames_are_frames_or_a_protocol_error(data, step):
    reader = FrameReader(Taker())
    with suppress(ProtocolError):
        for start in range(0, len(data), step):
            reader.feed(memoryview(data)[start : start + step])
        reader.end()


@given(data=damaged())
@EACH
def test_fuzz_damaged_frames_over_a_socket_leave_the_cell_alive(make_network, data):
    network = make_network("socketpair")
    server, good = network.two()
    server.handle("echo", lambda message: message.payload)
    ours, theirs = socket.socketpair()
    server.attach(SocketLink("site-2", ours))
    with theirs:
        with suppress(OSError):
            theirs.sendall(data)
        assert good.request("server", "echo", [1], timeout_s=20).payload == [1]


@given(
    first=st.binary(max_size=60) | values.map(msgpack.packb),
    name=st.sampled_from(["site-2", "server", "", "a..b", "x" * 300, "\0"]) | values,
    nonce=values,
    is_framed=st.booleans(),
)
@EACH
def test_fuzz_handshakes_over_a_socket_authenticate_nobody(unix_network, first, name, nonce, is_framed):
    if not unix_network.cells:
        unix_network.two()
    server, site = unix_network.cells[:2]
    path = unix_network.listen(server).removeprefix("unix://")
    for body in (first, msgpack.packb([3, name, nonce]), msgpack.packb([3, "site-2", bytes(32)])):
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.settimeout(10)
            stranger.connect(path)
            with suppress(OSError):
                stranger.sendall(b"FLH1" + len(body).to_bytes(2, "little") + body if is_framed else body)
                stranger.sendall(b"FLH1" + len(first).to_bytes(2, "little") + first)
    unix_network.settle(server, site)
    assert server.peers == ("site-1",)


@given(payload=values, topic=st.sampled_from(["seal.hello", "seal.confirm", "settle.site-1", "no such topic"]))
@EACH
def test_fuzz_hellos_and_other_requests_are_answered(unix_network, payload, topic):
    if not unix_network.cells:
        unix_network.two()
    server, site = unix_network.cells[:2]
    with suppress(RemoteError):
        site.request("server", topic, payload, timeout_s=20)
    unix_network.settle(server, site)


CHUNKS = st.binary(max_size=60) | st.builds(lambda mark, rest: bytes([mark]) + rest, st.integers(0, 3), damaged())


@given(chunks=st.lists(CHUNKS, min_size=1, max_size=4), lane=st.sampled_from(["prompt", "bulk", "", "x"]))
@EACH
def test_fuzz_chunks_of_an_authenticated_peer_do_not_harm_others(grpc_network, chunks, lane):
    import grpc

    if not grpc_network.cells:
        grpc_network.two()
    server, site = grpc_network.cells[:2]
    port = grpc_network.addresses[server].rpartition(":")[2]
    own = grpc_network.proof(grpc_network.cell("site-2"))["credentials"]
    grpc_network.cells.pop()
    tls = grpc.ssl_channel_credentials(own.authority, own.private_key, own.certificate)
    target = (("grpc.ssl_target_name_override", identity_host("server")),)
    with grpc.secure_channel(f"127.0.0.1:{port}", tls, options=target) as channel:
        metadata = (("flare-version", "3"), ("flare-cell", "site-2"), ("flare-lane", lane))
        with suppress(grpc.RpcError):
            for _ in channel.stream_stream("/flare.Link/Open")(iter(chunks), metadata=metadata, timeout=0.3):
                break
    grpc_network.settle(server, site)
    assert "site-1" in server.peers


def test_many_silent_connections_do_not_block_a_site(grpc_network):
    """Unauthenticated connections are closed after a while; meanwhile a site can connect."""
    server = grpc_network.cell("server")
    address = grpc_network.listen(server)
    port = int(address.rpartition(":")[2])
    silent = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(200)]
    try:
        site = grpc_network.cell("site-1")
        site.connect(address, **grpc_network.proof(site, "server"))
        grpc_network.settle(server, site)
        assert server.peers == ("site-1",)
    finally:
        for each in silent:
            each.close()


def test_old_versions_of_tls_are_refused(grpc_network):
    server = grpc_network.cell("server")
    port = int(grpc_network.listen(server).rpartition(":")[2])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with socket.create_connection(("127.0.0.1", port), 10) as raw, pytest.raises((ssl.SSLError, ConnectionError)):
        context.wrap_socket(raw)


def test_a_peer_with_many_sender_names_does_not_exhaust_the_memory(make_network):
    server, _ = make_network("socketpair").two()
    count = 3 * MAX_STRANDS
    handled = threading.Semaphore(0)
    server.handle("note", lambda message: handled.release())
    ours, theirs = socket.socketpair()
    server.attach(SocketLink("site-2", ours))
    with theirs:
        for number in range(count):
            frame = pack(Kind.MESSAGE, "server", f"site-2.x{number}", "note", 0, None)
            theirs.sendall(b"".join(bytes(buffer) for buffer in frame.buffers))
        for _ in range(count):
            handled.acquire()
        gc.collect()
        assert sum(isinstance(each, Strand) for each in gc.get_objects()) < 2 * MAX_STRANDS

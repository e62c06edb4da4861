"""Authentication of gRPC links: certificates at both ends, and the names that they are valid for."""

from __future__ import annotations

import datetime
import socket
import ssl
import threading

import pytest
from cryptography import x509

from flare_transport import AuthenticationError, Credentials
from flare_transport.certificates import Authority, issue, make_authority, make_request, sign_request

AUTHORITY = make_authority("ours")
OTHERS = make_authority("others")


@pytest.fixture
def server(grpc_network):
    cell = grpc_network.cell("server")
    cell.address = cell.listen("grpc://127.0.0.1:0", credentials=issue(AUTHORITY, "server"))
    return cell


def connect(network, server, name, credentials, **arguments):
    cell = network.cell(name)
    cell.connect(server.address, credentials=credentials, **{"peer": "server", **arguments})
    return cell


def test_cells_with_certificates_of_one_authority_can_link(grpc_network, server):
    site = connect(grpc_network, server, "site-1", issue(AUTHORITY, "site-1"))
    server.handle("who", lambda message: message.sender)
    assert site.request("server", "who").payload == "site-1"


def test_a_certificate_is_valid_for_the_names_below_its_own(grpc_network, server):
    grpc_network.settle(server, connect(grpc_network, server, "site-1.job-7", issue(AUTHORITY, "site-1")))
    assert server.peers == ("site-1.job-7",)


@pytest.mark.parametrize("name", ["site-2", "site-11", "site"])
def test_a_certificate_is_valid_for_no_other_name(grpc_network, server, name):
    with pytest.raises(AuthenticationError, match=f"may not speak for {name}"):
        connect(grpc_network, server, name, issue(AUTHORITY, "site-1"))


def test_the_listener_refuses_a_false_name_even_if_the_connector_does_not_check(
    grpc_network, server, monkeypatch, caplog
):
    monkeypatch.setattr("flare_transport.certificates.check_credentials", lambda credentials, name: None)
    with pytest.raises(AuthenticationError, match="belongs to site-1, which may not speak for 'site-2'"):
        connect(grpc_network, server, "site-2", issue(AUTHORITY, "site-1"))
    assert server.peers == ()


def test_a_listener_of_another_authority_is_refused(grpc_network, server):
    ours = issue(OTHERS, "site-1")
    with pytest.raises(AuthenticationError, match="authority"):
        connect(grpc_network, server, "site-1", ours)


def test_a_site_cannot_impersonate_the_server(grpc_network):
    impostor = grpc_network.cell("site-9")
    impostor.address = impostor.listen("grpc://127.0.0.1:0", credentials=issue(AUTHORITY, "site-9"))
    with pytest.raises(AuthenticationError, match="no certificate of the expected cell"):
        connect(grpc_network, impostor, "site-1", issue(AUTHORITY, "site-1"))


def test_the_expected_peer_must_be_named(grpc_network, server):
    with pytest.raises(AuthenticationError, match="Pass peer="):
        connect(grpc_network, server, "site-1", issue(AUTHORITY, "site-1"), peer=None)


def test_an_expired_certificate_is_reported(grpc_network, server):
    with pytest.raises(AuthenticationError, match="renew it or set the clock"):
        connect(grpc_network, server, "site-1", issue(AUTHORITY, "site-1", valid_days=0))


def test_certificate_and_key_must_match(grpc_network, server):
    first, second = issue(AUTHORITY, "site-1"), issue(AUTHORITY, "site-1")
    mixed = Credentials(first.certificate, second.private_key, AUTHORITY.certificate)
    with pytest.raises(AuthenticationError, match="do not belong together"):
        connect(grpc_network, server, "site-1", mixed)
    broken = Credentials(b"no pem", second.private_key, AUTHORITY.certificate)
    with pytest.raises(AuthenticationError, match="not valid PEM"):
        connect(grpc_network, server, "site-1", broken)


def test_certificates_are_required(grpc_network):
    with pytest.raises(AuthenticationError, match="needs certificates"):
        grpc_network.cell("server").listen("grpc://127.0.0.1:0")


def test_plain_text_connections_are_refused(grpc_network, server):
    with socket.create_connection(("127.0.0.1", port_of(server))) as plain:
        plain.settimeout(15)
        plain.sendall(HTTP2)
        assert plain.recv(100)[:1] in (b"", b"\x15")  # closed, or a TLS alert


def test_tls_connections_without_a_certificate_are_refused(grpc_network, server):
    context = ssl.create_default_context(cadata=AUTHORITY.certificate.decode())
    context.check_hostname = False
    with socket.create_connection(("127.0.0.1", port_of(server)), 15) as raw, context.wrap_socket(raw) as wrapped:
        assert answer_to(wrapped) == b""
    assert server.peers == ()


HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def answer_to(wrapped: ssl.SSLSocket) -> bytes:
    try:
        wrapped.send(HTTP2)
        return wrapped.recv(100)
    except (ssl.SSLError, ConnectionError):
        return b""


def port_of(cell) -> int:
    return int(cell.address.rpartition(":")[2])


def test_connecting_to_a_port_that_never_answers_times_out(grpc_network):
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        site = grpc_network.cell("site-1")
        with pytest.raises(ConnectionError, match="no answer"):
            site.connect(
                f"grpc://127.0.0.1:{mute.getsockname()[1]}",
                credentials=issue(AUTHORITY, "site-1"), peer="server", timeout_s=0.5,
            )  # fmt: skip


def test_a_request_is_signed_for_the_name_chosen_by_the_authority(grpc_network, server):
    private_key, request = make_request("site-5")
    certificate = sign_request(AUTHORITY, request, name="site-6")
    credentials = Credentials(certificate, private_key, AUTHORITY.certificate)
    grpc_network.settle(server, connect(grpc_network, server, "site-6", credentials))
    assert server.peers == ("site-6",)


def test_invalid_certificate_requests_are_refused(grpc_network):
    with pytest.raises(AuthenticationError, match="not a certificate request"):
        sign_request(AUTHORITY, b"nothing", name="site-1")


def test_a_certificate_has_the_requested_lifetime():
    certificate = x509.load_pem_x509_certificate(issue(AUTHORITY, "site-1", valid_days=30).certificate)
    left = certificate.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    assert datetime.timedelta(days=29) < left <= datetime.timedelta(days=30)


def test_private_keys_are_not_printed():
    credentials = issue(AUTHORITY, "site-1")
    assert "PRIVATE" not in repr(credentials)
    assert "PRIVATE" not in repr(Authority(AUTHORITY.certificate, AUTHORITY.private_key))


def test_a_listener_can_refuse_a_cell_with_a_valid_certificate(grpc_network):
    refused = {"site-1": "site-1 was revoked on 2026-01-01; ask for a new invitation"}
    certificates = []

    def admits(name, certificate):
        certificates.append(certificate)
        return refused.get(name)

    server = grpc_network.cell("server", admits=admits)
    server.address = server.listen("grpc://127.0.0.1:0", credentials=issue(AUTHORITY, "server"))
    ours = issue(AUTHORITY, "site-1")
    with pytest.raises(AuthenticationError, match="site-1 was revoked on 2026-01-01; ask for a new invitation"):
        connect(grpc_network, server, "site-1", ours)
    assert server.peers == ()
    refused.clear()
    connect(grpc_network, server, "site-1", ours)
    assert set(certificates) == {ours.certificate}


def test_disconnecting_ends_the_link_at_both_ends(grpc_network, server):
    lost = threading.Event()
    site = connect(grpc_network, server, "site-1", issue(AUTHORITY, "site-1"))
    site.on_peer_lost(lambda peer, error: lost.set())
    grpc_network.settle(server, site)
    server.disconnect("site-1")
    assert lost.wait(20)
    assert site.peers == ()
    server.disconnect("site-1")  # does nothing

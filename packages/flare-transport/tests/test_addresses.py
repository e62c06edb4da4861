from __future__ import annotations

import pytest

from flare_transport import AddressError
from flare_transport.address import parse_address


@pytest.mark.parametrize(
    "text",
    ["unix:///tmp/flare.sock", "grpc://localhost:8002", "grpc://[::1]:8002", "grpc://10.0.0.1:0"],
)
def test_a_parsed_address_prints_as_the_original_text(text):
    assert str(parse_address(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "", "server:8002", "http://localhost:80", "pipe://server", "unix://relative", "unix:///", "unix:///a\0b",
        "unix:///" + "x" * 200, "grpc://localhost", "grpc://:80", "grpc://localhost:99999", "grpc://localhost:80/path",
        "grpc://me@localhost:80",
    ],
)  # fmt: skip
def test_an_invalid_address_is_refused(text):
    with pytest.raises(AddressError):
        parse_address(text)


def test_only_one_cell_can_listen_at_an_address(network):
    if network.kind == "socketpair":
        return
    first = network.cell("server")
    address = network.listen(first)
    second = network.cell("server2")
    with pytest.raises(AddressError, match="cannot listen at"):
        second.listen(address, **network.proof(second))
    first.close()
    assert second.listen(address, **network.proof(second)) == address  # the address is free again


def test_connecting_fails_if_no_cell_listens(network):
    if network.kind == "socketpair":
        return
    first = network.cell("server")
    address = network.listen(first)
    first.close()
    site = network.cell("site-1")
    with pytest.raises(ConnectionError, match="cannot connect to"):
        site.connect(address, **network.proof(site, "server"))
    assert site.peers == ()


def test_connecting_fails_if_another_cell_listens(network):
    if network.kind == "socketpair":
        return
    address = network.listen(network.cell("server"))
    site = network.cell("site-1")
    proof = {**network.proof(site), "peer": "other"}
    with pytest.raises(Exception, match="expected"):
        site.connect(address, **proof)
    assert site.peers == ()

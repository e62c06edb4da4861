"""Messages and requests between two cells, over every kind of link."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from flare_fobs import FobsError
from flare_transport import Cell, RemoteError, UnreachableError

WAIT_S = 20


def test_a_request_is_answered(network):
    server, site = network.two()
    server.handle("double", lambda message: message.payload * 2)
    assert site.request("server", "double", 21).payload == 42
    assert site.peers == ("server",)
    assert server.peers == ("site-1",)


def test_both_ends_can_send_requests(network):
    server, site = network.two()
    server.handle("who", lambda message: ["server", message.sender])
    site.handle("who", lambda message: ["site-1", message.sender])
    assert site.request("server", "who").payload == ["server", "site-1"]
    assert server.request("site-1", "who").payload == ["site-1", "server"]


def test_an_inline_handler_runs_before_later_messages_are_handled(network):
    server, site = network.two()
    seen: list[int] = []
    server.handle("note", lambda message: seen.append(message.payload), inline=True)
    server.handle("seen", lambda message: list(seen))
    for number in range(100):
        site.send("server", "note", number)
    assert site.request("server", "seen").payload == list(range(100))


def test_many_threads_can_send_requests_concurrently(network):
    server, site = network.two()
    server.handle("square", lambda message: message.payload**2)
    wrong: list[int] = []

    def ask(start):
        for number in range(start, start + 50):
            if site.request("server", "square", number).payload != number**2:
                wrong.append(number)

    threads = [threading.Thread(target=ask, args=(100 * index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert not wrong
    assert not any(thread.is_alive() for thread in threads)


def test_handlers_that_send_requests_do_not_exhaust_the_pool(network):
    server, site = network.cell("server", threads=2), network.cell("site-1", threads=2)
    network.link(server, site)
    server.handle("down", lambda message: message.payload and site_asks(message.payload - 1))
    site.handle("down", lambda message: message.payload and server_asks(message.payload - 1))

    def site_asks(depth):
        return server.request("site-1", "down", depth).payload

    def server_asks(depth):
        return site.request("server", "down", depth).payload

    pending = [site.start_request("server", "down", 20) for _ in range(5)]  # five chains of 20 nested handlers
    assert [each.result(WAIT_S).payload for each in pending] == [0] * 5


def test_an_exception_of_a_handler_reaches_the_requester(network, caplog):
    server, site = network.two()

    def fail(message):
        raise ValueError("no weights in 'layer.3'")

    server.handle("fail", fail)
    with pytest.raises(RemoteError, match=r"server: no weights in 'layer\.3'") as raised:
        site.request("server", "fail")
    assert raised.value.kind == "ValueError"


def test_a_reply_that_cannot_be_serialized_reaches_the_requester_as_an_error(network, caplog):
    server, site = network.two()
    server.handle("odd", lambda message: {"model": [object()]})
    with pytest.raises(RemoteError, match="object"):
        site.request("server", "odd")
    server.handle("good", lambda message: 1)
    assert site.request("server", "good").payload == 1


def test_a_payload_that_cannot_be_serialized_is_refused_at_once(network):
    server, site = network.two()
    server.handle("good", lambda message: 1)
    with pytest.raises(FobsError, match="model"):
        site.request("server", "good", {"model": object()})
    assert site.request("server", "good").payload == 1


def test_unknown_topics_and_cells_are_named(network):
    _, site = network.two()
    with pytest.raises(RemoteError, match="server does not serve 'nothing'"):
        site.request("server", "nothing")
    with pytest.raises(UnreachableError, match="site-1 has no link to 'site-9'"):
        site.send("site-9", "hello")


def test_a_link_survives_a_request_that_times_out(network):
    server, site = network.two()
    go_on = threading.Event()
    server.handle("slow", lambda message: go_on.wait(WAIT_S))
    server.handle("quick", lambda message: "here")
    with pytest.raises(TimeoutError, match="server"):
        site.request("server", "slow", timeout_s=0.05)
    assert site.request("server", "quick").payload == "here"
    go_on.set()


def test_names_are_unique(network):
    server, _ = network.two()
    with pytest.raises(UnreachableError, match="site-1"):
        network.link(server, network.cell("site-1"))
    network.link(server, network.cell("site-2"))
    assert sorted(server.peers) == ["site-1", "site-2"]


def test_traffic_is_counted_at_both_ends(network):
    server, site = network.two()
    server.handle("count", lambda message: None)
    site.request("server", "count", np.zeros(50_000))
    sent = site.bytes_sent
    assert 400_000 <= sent <= 401_000
    assert server.bytes_received == sent
    site.close()
    assert site.bytes_sent == sent


def test_a_closed_cell_refuses_links(network):
    server = network.cell("server")
    server.close()
    with pytest.raises(UnreachableError):
        network.link(server, network.cell("site-1"))


@pytest.mark.parametrize("name", ["", ".", "a..b", "a/b", "a b", "x" * 201, "ü"])
def test_invalid_names_are_refused(name):
    with pytest.raises(ValueError, match="name of a cell"):
        Cell(name)

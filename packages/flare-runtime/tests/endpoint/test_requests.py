"""Requests and messages between the parties of a job, over real cells."""

from __future__ import annotations

import queue
import threading
import time

import numpy as np
import pytest

from flare_core import JobEndpoint, PartyError, Stream

S = 20.0


@pytest.mark.parametrize(
    ("sender", "to"), [("site-1", "site-2"), ("site-1", "server"), ("server", "site-1"), ("site-2", "site-1")]
)
def test_a_request_reaches_its_party_with_the_name_of_the_sender(two_sites, sender, to):
    for party in two_sites.server.directory.parties:
        two_sites[party].handle("who", lambda asker, data, party=party: [party, asker, data])
    array = np.arange(6.0).reshape(2, 3)
    served_by, asker, data = two_sites[sender].request(to, "who", {"a": array}, timeout_s=S)
    assert (served_by, asker) == (to, sender)
    np.testing.assert_array_equal(data["a"], array)


def test_messages_of_one_party_arrive_in_order(two_sites):
    arrived = queue.Queue()
    two_sites["site-2"].handle("count", lambda sender, data: arrived.put((sender, data)))
    for number in range(300):
        two_sites["site-1"].send("site-2", "count", number)
    assert [arrived.get(timeout=S) for _ in range(300)] == [("site-1", number) for number in range(300)]


def test_every_party_knows_all_parties(two_sites):
    for party in ("server", "site-1", "site-2"):
        endpoint = two_sites[party]
        assert (endpoint.party, endpoint.parties) == (party, ("server", "site-1", "site-2"))
        assert isinstance(endpoint, JobEndpoint)


def test_a_handler_that_raises_is_an_error_that_names_its_party(two_sites):
    def divide(sender, data):
        return 1 / data

    two_sites["site-2"].handle("divide", divide)
    with pytest.raises(PartyError, match="site-2: ZeroDivisionError: division by zero") as caught:
        two_sites["site-1"].request("site-2", "divide", 0, timeout_s=S)
    assert caught.value.party == "site-2"


def test_an_unknown_topic_or_party_is_an_error(two_sites):
    with pytest.raises(PartyError, match="site-2: site-2 does not handle 'nothing'"):
        two_sites["site-1"].request("site-2", "nothing", timeout_s=S)
    with pytest.raises(PartyError, match="site-2: site-2 does not handle streams of 'nothing'"):
        two_sites["site-1"].open_stream("site-2", "nothing", timeout_s=S)
    with pytest.raises(PartyError, match="no party 'site-3'; its parties are server, site-1, site-2"):
        two_sites["site-1"].request("site-3", "nothing")
    with pytest.raises(PartyError, match="site-1 is this party itself"):
        two_sites["site-1"].request("site-1", "nothing")


def test_a_request_waits_until_its_party_is_connected(job):
    made = job()
    made.server.open()
    made.host("worker-1", ["site-1"]).open()
    answers = queue.Queue()
    asking = threading.Thread(target=lambda: answers.put(made["site-1"].request("site-2", "hello", timeout_s=S)))
    asking.start()
    second = made.host("worker-2", ["site-2"])
    with pytest.raises(TimeoutError, match=r"site-2 did not reply to 'hello' within 0\.05 s"):
        made["site-1"].request("site-2", "hello", timeout_s=0.05)  # it is there, but its services have not started
    made["site-2"].handle("hello", lambda sender, data: f"hello, {sender}")
    second.open()
    assert answers.get(timeout=S) == "hello, site-1"
    asking.join()


def test_the_removal_of_a_party_is_an_error_for_waiting_requests_too(job):
    made = job({"site-1": "site-1.job", "site-2": "site-2.job"}, can_leave=True)
    made.server.open()
    made.host("site-1.job", ["site-1"]).open()
    errors = queue.Queue()

    def ask():
        try:
            made["site-1"].request("site-2", "hello")
        except PartyError as error:
            errors.put(error)

    asking = threading.Thread(target=ask)
    asking.start()
    made.server.remove("site-2", "it was removed from the project")
    assert "site-2 is gone: it was removed from the project" in str(errors.get(timeout=S))
    asking.join()
    with pytest.raises(PartyError, match="site-2 is gone"):
        made["server"].send("site-2", "hello")


def test_a_party_that_comes_back_through_another_cell_is_found(job):
    made = job({"site-1": "site-1.first", "site-2": "site-2.first"}, can_leave=True).begin()
    made["site-2"].handle("where", lambda sender, data: "first")
    assert made["site-1"].request("site-2", "where", timeout_s=S) == "first"
    made.closing.remove(made.hubs["site-2"])
    made.hubs["site-2"].cell.close()
    again = made.host("site-2.second", ["site-2"])
    made["site-2"].handle("where", lambda sender, data: ["second", sender])
    again.open()
    assert made["server"].request("site-2", "where", timeout_s=S) == ["second", "server"]
    assert _ask_again(made["site-1"], "site-2", "where") == ["second", "site-1"]


def _ask_again(endpoint, to, topic):
    """Request until the server's notification of the party's new cell has arrived; until then the old cell is lost."""
    until = time.monotonic() + S
    while True:
        try:
            return endpoint.request(to, topic, timeout_s=S)
        except PartyError as error:
            if "is lost" not in str(error) or time.monotonic() >= until:
                raise


def test_a_request_ends_when_the_server_announces_the_loss_of_its_party(job):
    made = job({"site-1": "site-1.job", "site-2": "site-2.job"}, can_leave=True).begin()
    asked, done = threading.Event(), threading.Event()

    def wait(sender, data):
        asked.set()
        done.wait(S)

    made["site-2"].handle("wait", wait)
    errors = queue.Queue()

    def ask():
        try:
            made["site-1"].request("site-2", "wait")
        except PartyError as error:
            errors.put(error)

    asking = threading.Thread(target=ask)
    asking.start()
    assert asked.wait(S)
    made.server.leave("site-2.job", "its process was killed by SIGKILL")  # while its link is still there
    assert str(errors.get(timeout=S)) == "site-2 is lost: its process was killed by SIGKILL"
    done.set()
    asking.join()


def test_waits_end_with_the_run(job):
    made = job()
    made.server.open()
    made.host("worker-1", ["site-1"]).open()
    errors = queue.Queue()

    def ask():
        try:
            made["site-1"].request("site-2", "hello")
        except PartyError as error:
            errors.put(error)

    asking = threading.Thread(target=ask)
    asking.start()
    made.hubs["site-1"].close("the run is over")
    assert "the run is over" in str(errors.get(timeout=S))
    asking.join()
    with pytest.raises(PartyError, match="server cannot be reached any more: the run is over"):
        made["site-1"].send("server", "hello")


def test_requests_before_the_server_knows_its_job_are_answered_later(job):
    from flare_runtime.endpoint.at_server import ServerHub
    from flare_runtime.endpoint.at_site import SiteHub
    from flare_transport import Cell, SocketLink

    server, site = ServerHub(Cell("server")), SiteHub(Cell("site-1"), "server", ["site-1"])
    ours, theirs = SocketLink.pair("server", "site-1")
    server.cell.attach(ours)
    site.cell.attach(theirs, uplink=True)
    joining = threading.Thread(target=site.join)
    joining.start()
    server.begin(["site-1"], lambda cell, party: cell == party, can_leave=True)
    joining.join(S)
    assert site.directory.parties == ("server", "site-1")
    for hub in (site, server):
        hub.close("the test is over")
        hub.cell.close()


@pytest.mark.parametrize("topic", ["endpoint.call", "endpoint.open", "endpoint.message"])
@pytest.mark.parametrize("at", ["server", "worker-2"])
def test_a_site_that_speaks_for_another_is_refused(job, topic, at):
    """The error, or the log line for a message without reply, names both."""
    from flare_transport import RemoteError

    made = job({"site-1": "worker-1", "site-2": "worker-2", "site-3": "worker-3"}).begin()
    heard = queue.Queue()
    to = "server" if at == "server" else "site-2"
    for register in (made[to].handle, made[to].handle_stream):
        register("secret", lambda *what: heard.put(what))
    liar = made.hubs["site-3"].cell
    for claimed in ("site-1", "server"):
        payload = [claimed, to, "secret", 1, None] if topic == "endpoint.open" else [claimed, to, "secret", None]
        if (claimed, at) == ("server", "server"):
            continue
        if topic == "endpoint.message":
            liar.send(at, topic, payload)
        else:
            with pytest.raises(RemoteError, match=f"worker-3 spoke for {claimed}, which it does not serve"):
                liar.request(at, topic, payload, timeout_s=S)
    made["site-3"].send(to, "secret", "an honest one, after those")
    assert heard.get(timeout=S) == ("site-3", "an honest one, after those")
    assert heard.empty()


def test_a_site_cannot_take_the_place_of_another(job):
    from flare_transport import RemoteError

    made = job({"site-1": "site-1.job", "site-2": "site-2.job"}, can_leave=True).begin()
    with pytest.raises(RemoteError, match=r"site-2\.job spoke for site-1, which it does not serve"):
        made.hubs["site-2"].cell.request("server", "endpoint.join", [["site-1"]], timeout_s=S)
    made.hubs["site-2"].cell.send("server", "endpoint.ready", [["site-1"]])
    made["site-1"].handle("who", lambda sender, data: "site-1 itself")
    assert made["server"].request("site-1", "who", timeout_s=S) == "site-1 itself"


def test_a_site_cannot_announce_the_place_of_a_party(job):
    made = job({"site-1": "worker-1", "site-2": "worker-2", "site-3": "worker-3"}).begin()
    made["site-2"].handle("who", lambda sender, data: "site-2 itself")
    made.hubs["site-3"].cell.send("worker-1", "endpoint.at", ["site-2", 99, "worker-3", True, "", ""])
    made["site-3"].handle("ping", lambda sender, data: None)
    made["site-1"].handle("ping", lambda sender, data: None)
    made["site-3"].request("site-1", "ping", timeout_s=S)  # so that the lie is there
    assert made["site-1"].request("site-2", "who", timeout_s=S) == "site-2 itself"


def test_handlers_that_wait_do_not_block_others(two_sites):
    """More handlers wait than the cell has threads; others still run, and the last one releases them."""
    go = threading.Event()
    waiting = threading.Semaphore(0)

    def wait(sender, data):
        waiting.release()
        assert go.wait(S)
        return data

    two_sites["site-2"].handle("wait", wait)
    two_sites["site-2"].handle("go", lambda sender, data: go.set())
    answers = queue.Queue()
    threads = [
        threading.Thread(
            target=lambda number=number: answers.put(two_sites["site-1"].request("site-2", "wait", number, timeout_s=S))
        )
        for number in range(30)
    ]
    for thread in threads:
        thread.start()
    assert all(waiting.acquire(timeout=S) for _ in threads)
    two_sites["site-1"].request("site-2", "go", timeout_s=S)
    assert sorted(answers.get(timeout=S) for _ in threads) == list(range(30))
    for thread in threads:
        thread.join()


def test_party_streams_satisfy_the_stream_protocol(two_sites):
    two_sites["site-2"].handle_stream("any", lambda stream: None)
    with two_sites["site-1"].open_stream("site-2", "any", timeout_s=S) as stream:
        assert isinstance(stream, Stream)

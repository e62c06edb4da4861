"""Polls wait at the gate until there is something, other requests do not; the SuperLink here is a port that counts."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from flwr.proto.fleet_pb2 import PullMessagesResponse, PushMessagesRequest, PushMessagesResponse
from flwr.proto.message_pb2 import Message, Metadata, PullObjectRequest, PushObjectRequest
from flwr.proto.runtime_pb2 import (
    GetNodesRequest,
    PullAppMessagesRequest,
    PushAppMessagesRequest,
    PushAppMessagesResponse,
)

from flare_flower import gate, watch
from flare_flower.gate import Gate
from flare_flower.loopback import LoopbackPort, Request, Response, Upstream
from flare_flower.watch import Watch

TRAIN = Message(metadata=Metadata(message_id="m", message_type="train"))
REPLY = Message(metadata=Metadata(reply_to_message_id="m", message_type="train"))


class Link:
    """A SuperLink's port: it has a message for the node once the ServerApp has sent one."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.first_pull = threading.Event()
        self.port = LoopbackPort(self.answer)
        self.upstream = Upstream(self.port.address)
        self.watch = Watch()
        self.gate = Gate(self.upstream, self.watch)

    def answer(self, request: Request) -> Response:
        has_message = self.asked["runtime/push-messages"] > 0
        name = request.path.removeprefix("/v1/")
        self.asked[name] += 1
        match name:
            case "fleet/pull-messages":
                self.first_pull.set()
                found = PullMessagesResponse(messages_list=[TRAIN] if has_message else [])
            case "runtime/push-messages":
                found = PushAppMessagesResponse(message_ids=["m"], objects_to_push=["o"])
            case "fleet/push-messages":
                found = PushMessagesResponse(objects_to_push=["p"])
            case _:
                return Response(200, {}, b"\x08\x01")
        return Response(200, {}, found.SerializeToString())

    def node(self, name: str, message=None) -> Response:
        body = b"" if message is None else message.SerializeToString()
        return self.gate.of_node("site-1", Request(f"/v1/fleet/{name}", {}, body), lambda: True)

    def app(self, name: str, message) -> Response:
        return self.gate.of_app(Request(f"/v1/runtime/{name}", {}, message.SerializeToString()))

    def close(self) -> None:
        self.watch.end()
        self.upstream.close()
        self.port.close()


@pytest.fixture
def link():
    made = Link()
    yield made
    made.close()


@pytest.fixture
def pool():
    with ThreadPoolExecutor() as executor:
        yield executor


def test_a_node_that_polls_is_answered_when_a_message_was_sent_and_its_objects_as_they_come(link, pool):
    poll = pool.submit(link.node, "pull-messages")
    assert link.first_pull.wait(10)
    assert not poll.done()
    link.app("push-messages", PushAppMessagesRequest(messages_list=[TRAIN]))
    found = PullMessagesResponse.FromString(poll.result(10).body)
    assert found.messages_list[0].metadata.message_id == "m"
    assert link.asked["fleet/pull-messages"] == 2  # the first time, and when there was something
    thing = pool.submit(link.node, "pull-object", PullObjectRequest(object_id="o"))
    assert link.node("pull-object", PullObjectRequest(object_id="another")).status == 200
    assert not thing.done()
    assert link.asked["fleet/pull-object"] == 1
    link.app("push-object", PushObjectRequest(object_id="o"))
    assert thing.result(10).status == 200
    assert link.asked["fleet/pull-object"] == 2


def test_a_heartbeat_does_not_wait_behind_a_poll_nor_behind_objects(link, pool):
    poll = pool.submit(link.node, "pull-messages")
    assert link.first_pull.wait(10)
    assert link.node("send-node-heartbeat").body == b"\x08\x01"
    assert not poll.done()
    link.app("push-messages", PushAppMessagesRequest(messages_list=[TRAIN]))
    thing = pool.submit(link.node, "pull-object", PullObjectRequest(object_id="o"))
    assert link.node("send-node-heartbeat").body == b"\x08\x01"
    assert not thing.done()
    link.app("push-object", PushObjectRequest(object_id="o"))
    thing.result(10)
    poll.result(10)


def test_a_serverapp_that_polls_is_answered_when_all_replies_are_complete(link, pool):
    poll = pool.submit(link.app, "pull-messages", PullAppMessagesRequest(message_ids=["m"]))
    link.node("push-messages", PushMessagesRequest(messages_list=[REPLY]))
    assert link.asked["runtime/pull-messages"] == 0
    link.node("push-object", PushObjectRequest(object_id="p"))
    assert poll.result(10).status == 200
    assert link.asked["runtime/pull-messages"] == 1


def test_polls_end_with_the_run(link, pool):
    poll = pool.submit(link.node, "pull-messages")
    assert link.first_pull.wait(10)
    link.watch.end()
    assert poll.result(10).is_empty


@pytest.mark.parametrize("path", ["/v1/control/start-run", "/v1/runtime/acquire-task", "/", "/v1/fleet"])
def test_a_site_reaches_no_other_part_of_the_superlink(link, path):
    assert link.gate.of_node("site-1", Request(path), lambda: True).status == 404
    assert not link.asked


def test_an_object_that_never_comes_does_not_hold_its_reader_for_ever(link, monkeypatch):
    monkeypatch.setattr(watch, "STALLED_S", 0.1)
    monkeypatch.setattr(gate, "STALLED_S", 0.1)
    link.app("push-messages", PushAppMessagesRequest(messages_list=[TRAIN]))
    assert link.node("pull-object", PullObjectRequest(object_id="o")).status == 200


def test_the_first_question_for_nodes_waits_for_the_nodes_of_all_sites(link, pool):
    link.gate.nodes = 2
    question = pool.submit(link.app, "get-nodes", GetNodesRequest())
    for site in ("site-1", "site-2"):
        assert not question.done()
        assert link.asked["runtime/get-nodes"] == 0
        link.gate.of_node(site, Request("/v1/fleet/activate-node"), lambda: True)
    assert question.result(10).status == 200
    assert link.app("get-nodes", GetNodesRequest()).status == 200  # later ones do not wait

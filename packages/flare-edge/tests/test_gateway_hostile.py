"""Devices that mean no good, over TLS: refused with the right status and counted, and good devices notice nothing."""

from __future__ import annotations

import itertools
import json
import logging
import socket
import struct
import threading
import time
from contextlib import ExitStack

import numpy as np
import pytest
from gateways import SAFETENSORS, SCALE, Raw, Reports, batch_of, invitation, order, serving, update

from flare_edge.device.client import Client
from flare_edge.device.safetensors import dumps
from flare_edge.gateway.registry import Registry
from flare_edge.gateway.settings import GatewaySettings, Limits

OPEN = Limits(registrations_per_s=1e6, refusals_per_s=1e6, requests_per_s=1e6)
GOOD = {"w": np.full(3, 0.5, np.float32), "b": np.array(0.5, np.float32)}
METADATA = {"num_examples": "1"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A gateway for tests of which each leaves nothing behind."""
    with serving(tmp_path_factory.mktemp("shared"), GatewaySettings(limits=OPEN)) as running:
        yield running


@pytest.fixture
def raw(shared):
    with Raw(shared) as connection:
        yield connection


@pytest.fixture
def evil(shared, raw):
    """A registered device that has a task, a training of ``ticket``."""
    return Evil(shared, raw)


@pytest.fixture
def gateway(tmp_path):
    with serving(tmp_path, GatewaySettings(limits=OPEN)) as running:
        yield running


class Evil:
    numbers = itertools.count(1)

    def __init__(self, gateway, raw, kind="train"):
        self.ticket = next(self.numbers)
        self.name = f"evil{self.ticket}"
        self.token = register(raw, gateway, self.name)
        self._raw = raw
        self._gateway = gateway
        self.order = order(self.ticket, self.name, kind=kind)
        gateway.give([self.order])

    def report(self, body, content_type=SAFETENSORS, ticket=None):
        path = f"/v1/results/{self.ticket if ticket is None else ticket}".encode().decode("latin-1")
        return self._raw.request("POST", path, body, self.token, content_type=content_type)

    def is_working(self):
        return self.order in self._gateway.open_tickets()


def register(raw, gateway, name="evil"):
    body = json.dumps({"invitation": invitation(gateway), "name": name}).encode()
    answer = raw.request("POST", "/v1/devices", body)
    assert answer.status == 201
    return json.loads(answer.body)["token"]


def tensors(**changes):
    return dumps(GOOD | changes, METADATA)


def safetensors(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype="F32", shape=(3,), offsets=(0, 12)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


TWICE = json.dumps({"w": entry(), "v": entry()}).replace('"v"', '"w"').encode()
BODIES = {
    "empty": (b"", 400, "malformed"),
    "seven bytes": (b"1234567", 400, "malformed"),
    "a header larger than the body": (struct.pack("<Q", 1 << 62) + b"{}", 400, "malformed"),
    "a header that is no JSON": (safetensors(b"{nonsense"), 400, "malformed"),
    "a header that is deeply nested": (safetensors(b"[" * 50_000), 400, "malformed"),
    "a list as header": (safetensors(b"[]"), 400, "malformed"),
    "a number of 10,000 digits": (safetensors(b'{"w":' + b"1" * 10_000 + b"}"), 400, "malformed"),
    "offsets beyond the end": (safetensors({"w": entry(offsets=(0, 1 << 40), shape=(1 << 38,))}), 400, "malformed"),
    "negative offsets": (safetensors({"w": entry(offsets=(-12, 0))}, bytes(12)), 400, "malformed"),
    "overlapping tensors": (
        safetensors({"w": entry(), "b": entry(shape=(), offsets=(8, 12))}, bytes(12)),
        400,
        "malformed",
    ),
    "a gap between tensors": (
        safetensors({"w": entry(), "b": entry(shape=(), offsets=(16, 20))}, bytes(20)),
        400,
        "malformed",
    ),
    "bytes after the tensors": (tensors() + b"x", 400, "malformed"),
    "a name twice": (safetensors(TWICE, bytes(12)), 400, "malformed"),
    "shapes of zero times infinity": (
        safetensors({"w": entry(shape=(0, 1 << 47, 1 << 47), offsets=(0, 0))}),
        400,
        "malformed",
    ),
    "an unknown dtype": (safetensors({"w": entry(dtype="F4")}, bytes(12)), 400, "malformed"),
    "a missing parameter": (dumps({"w": GOOD["w"]}, METADATA), 422, "names"),
    "an unknown parameter": (tensors(x=np.zeros(1, np.float32)), 422, "names"),
    "a wrong shape": (tensors(w=np.zeros(4, np.float32)), 422, "shape"),
    "a transposed shape": (tensors(w=np.zeros((3, 1), np.float32)), 422, "shape"),
    "float64": (tensors(w=np.zeros(3)), 422, "dtype"),
    "integers": (tensors(w=np.zeros(3, np.int32)), 422, "dtype"),
    "NaN": (tensors(w=np.array([0, np.nan, 0], np.float32)), 422, "not_finite"),
    "infinity": (tensors(b=np.array(-np.inf, np.float32)), 422, "not_finite"),
    "a large value": (tensors(w=np.array([101, 0, 0], np.float32)), 422, "norm"),
    "a large norm": (tensors(w=np.full(3, 60, np.float32)), 422, "norm"),
    "the largest values": (tensors(w=np.full(3, 3e38, np.float32)), 422, "norm"),
    "no num_examples": (dumps(GOOD), 422, "num_examples"),
    "zero examples": (dumps(GOOD, {"num_examples": "0"}), 422, "num_examples"),
    "minus one example": (dumps(GOOD, {"num_examples": "-1"}), 422, "num_examples"),
    "half an example": (dumps(GOOD, {"num_examples": "0.5"}), 422, "num_examples"),
    "examples in other digits": (dumps(GOOD, {"num_examples": "٣"}), 422, "num_examples"),
    "10**5000 examples": (dumps(GOOD, {"num_examples": "1" + "0" * 5000}), 422, "num_examples"),
    "metrics that are no JSON": (dumps(GOOD, METADATA | {"metrics": "{"}), 422, "metrics"),
    "metrics that are a list": (dumps(GOOD, METADATA | {"metrics": "[1]"}), 422, "metrics"),
    "a metric that is NaN": (dumps(GOOD, METADATA | {"metrics": '{"loss": NaN}'}), 422, "metrics"),
    "a metric beyond measure": (dumps(GOOD, METADATA | {"metrics": '{"loss": 1e300}'}), 422, "metrics"),
    "a metric of 4,000 digits": (dumps(GOOD, METADATA | {"metrics": '{"loss": ' + "1" * 4000 + "}"}), 422, "metrics"),
    "a metric that is a truth": (dumps(GOOD, METADATA | {"metrics": '{"loss": true}'}), 422, "metrics"),
    "metrics deep in each other": (dumps(GOOD, METADATA | {"metrics": "[" * 20_000}), 422, "metrics"),
    "many metrics": (dumps(GOOD, METADATA | {"metrics": json.dumps({str(n): 1 for n in range(33)})}), 422, "metrics"),
    "a metric that clears the screen": (dumps(GOOD, METADATA | {"metrics": '{"\\u001b[2J": 1}'}), 422, "metrics"),
    "unknown metadata": (dumps(GOOD, METADATA | {"weight": "5"}), 422, "metadata"),
}


@pytest.mark.parametrize("case", BODIES)
def test_results_that_do_not_fit_are_refused(shared, evil, case):
    body, status, code = BODIES[case]
    before = shared.counts[f"refused.{code}"]
    answer = evil.report(body)
    assert (answer.status, answer.error) == (status, code)
    assert shared.counts[f"refused.{code}"] == before + 1
    assert evil.is_working()  # it may do it well yet
    assert evil.report(update()).status == 200
    batch = batch_of(shared)
    assert (list(batch.done), batch.sums[0].count) == ([evil.ticket], 1)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "malformed"),
        (b"\xff", 400, "malformed"),
        (b"[]", 400, "malformed"),
        (b"[" * 60_000, 400, "malformed"),
        (b'{"error": 5}', 422, "fields"),
        (b'{"num_examples": 1}', 422, "fields"),
        (b'{"num_examples": true, "metrics": {}}', 422, "num_examples"),
        (b'{"num_examples": 1e400, "metrics": {}}', 422, "num_examples"),
        (b'{"num_examples": 1, "metrics": {"a": "b"}}', 422, "metrics"),
        (b'{"num_examples": 1, "metrics": {"": 1}}', 422, "metrics"),
        (b'{"num_examples": 1, "metrics": {"a": Infinity}}', 422, "metrics"),
    ],
)
def test_evaluations_that_do_not_fit_are_refused(shared, raw, body, status, code):
    evil = Evil(shared, raw, kind="evaluate")
    answer = evil.report(body, "application/json")
    assert (answer.status, answer.error) == (status, code)
    shared.withdraw([evil.ticket])


def test_a_result_of_the_wrong_kind_is_refused(shared, evil):
    answer = evil.report(b'{"num_examples": 1, "metrics": {}}', "application/json")
    assert (answer.status, answer.error) == (422, "kind")
    answer = evil.report(update(), "text/html")
    assert (answer.status, answer.error) == (415, "content_type")
    shared.withdraw([evil.ticket])


def test_a_devices_words_reach_the_server_and_its_log_as_one_printable_line(shared, evil):
    body = b'{"error": "\\ud800 \\u001b[2J\\nround 9 is done: \\u00fc"}'
    assert evil.report(body, "application/json").status == 200
    assert batch_of(shared).failed == {evil.ticket: "\ufffd \ufffd[2J\ufffdround 9 is done: ü"}


@pytest.mark.parametrize("ticket", [10**6, 0, "-1", "1.0", "x", "9" * 17, "9" * 5000, "%00", "1%2f..%2f2", "٣"])
def test_unknown_tickets_are_refused(shared, evil, ticket):
    assert evil.report(update(), ticket=ticket).status in (400, 404)
    assert evil.is_working()
    shared.withdraw([evil.ticket])


def test_another_devices_ticket_and_another_result_are_refused(gateway):
    with Raw(gateway) as raw:
        good, evil = register(raw, gateway, "good"), register(raw, gateway)
        gateway.give([order(1, "good"), order(2, "evil")])
        answer = raw.request("POST", "/v1/results/1", update(9.0), evil, content_type=SAFETENSORS)
        assert (answer.status, answer.error) == (403, "not_yours")
        assert raw.request("POST", "/v1/results/1", update(0.5), good, content_type=SAFETENSORS).status == 200
        replayed = raw.request("POST", "/v1/results/1", update(0.5), evil, content_type=SAFETENSORS)
        assert (replayed.status, replayed.error) == (404, "unknown_ticket")
        other = raw.request("POST", "/v1/results/1", update(0.6), good, content_type=SAFETENSORS)
        assert (other.status, other.error) == (409, "other_result")
        assert raw.request("POST", "/v1/results/1", update(0.5), good, content_type=SAFETENSORS).status == 200
        gateway.withdraw([2])
        batch = batch_of(gateway)
        assert (list(batch.done), batch.sums[0].count, batch.sums[0].weight) == ([1], 1, 1)
        np.testing.assert_array_equal(SCALE.decode(batch.sums[0].total, 1)["w"], np.full(3, 0.5))


def test_a_device_that_claims_millions_of_examples_weighs_no_more_than_the_largest(shared, evil):
    assert evil.report(dumps(GOOD, {"num_examples": str(10**17)})).status == 200
    assert batch_of(shared).sums[0].weight == 1024


@pytest.mark.parametrize("token", ["", "x", "x" * 10_000, "ü", "a b"])
def test_tokens_that_are_not_known_are_refused(shared, token):
    before = shared.counts["refused.token"]
    for method, path in [
        ("POST", "/v1/tasks"),
        ("POST", "/v1/results/1"),
        ("GET", "/v1/models/0"),
        ("GET", "/v1/job"),
        ("DELETE", "/v1/devices/me"),
    ]:
        with Raw(shared) as raw:
            answer = raw.request(method, path, token=token.encode().decode("latin-1"))
        assert (answer.status, answer.error) == (401, "token")
        assert answer.headers["connection"] == "close"
    assert shared.counts["refused.token"] == before + 5


def test_a_revoked_device_is_refused_at_once_and_has_left(gateway):
    with Raw(gateway) as raw:
        token = register(raw, gateway)
        assert raw.request("POST", "/v1/tasks", b"{}", token).status == 204
        assert gateway.next_report().joined == ["gw-1/evil"]
        registry = Registry(gateway.folder / "edge-devices.sqlite")
        assert registry.revoke("evil") == "device"
        registry.close()
        assert raw.request("POST", "/v1/tasks", b"{}", token).status == 401
        assert gateway.next_report().left == ["gw-1/evil"]


def test_a_device_that_is_revoked_while_it_waits_gets_no_task(gateway):
    with Raw(gateway) as raw:
        token = register(raw, gateway)
        raw.send(
            f"POST /v1/tasks HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: 14\r\n\r\n"
            '{"wait_s": 60}'.encode()
        )
        assert gateway.next_report().joined == ["gw-1/evil"]
        registry = Registry(gateway.folder / "edge-devices.sqlite")
        registry.revoke("evil")
        registry.close()
        gateway.give([order(1, "evil")])
        assert raw.answer().status == 401
        report = gateway.next_report()
        assert (report.left, report.batch.failed) == (["gw-1/evil"], {1: "the device left"})


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{}", 422, "fields"),
        (b"no", 400, "malformed"),
        (b'{"invitation": "nonsense"}', 403, "invitation"),
        (b'{"invitation": "\\ud800"}', 403, "invitation"),
        (b'{"invitation": 5}', 422, "fields"),
        (b'{"invitation": "x", "name": "../../etc"}', 422, "name"),
        (b'{"invitation": "x", "name": ""}', 422, "name"),
        (b'{"invitation": "x", "more": 1}', 422, "fields"),
        (b'{"invitation": "x", "request": "short"}', 422, "request"),
        (b'{"invitation": "x", "request": 5}', 422, "request"),
        (b'{"invitation": "' + b"x" * 70_000 + b'"}', 413, "too_large"),
    ],
)
def test_registrations_that_do_not_fit_are_refused(raw, body, status, code):
    answer = raw.request("POST", "/v1/devices", body)
    assert (answer.status, answer.error) == (status, code)


@pytest.mark.parametrize("wait", ['"5"', "-1", "null", "NaN", "true", "Infinity", "[]"])
def test_polls_that_wait_for_nonsense_are_refused(shared, evil, raw, wait):
    answer = raw.request("POST", "/v1/tasks", f'{{"wait_s": {wait}}}'.encode(), evil.token)
    assert (answer.status, answer.error) == (422, "fields")
    shared.withdraw([evil.ticket])


def test_a_body_that_is_too_large_is_refused_before_it_is_read(shared, evil, raw):
    raw.send(
        f"POST /v1/results/{evil.ticket} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {evil.token}\r\n"
        f"content-type: {SAFETENSORS}\r\ncontent-length: {10**12}\r\n\r\n".encode()
    )
    answer = raw.answer()
    assert (answer.status, answer.error, answer.headers["connection"]) == (413, "too_large", "close")
    assert raw.answer() is None
    shared.withdraw([evil.ticket])


def test_a_body_without_an_end_is_refused_at_the_limit(shared, evil, raw):
    raw.send(
        f"POST /v1/results/{evil.ticket} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {evil.token}\r\n"
        f"content-type: {SAFETENSORS}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    )
    raw.send((b"4000\r\n" + bytes(0x4000) + b"\r\n") * 8)
    answer = raw.answer()
    assert (answer.status, answer.error) == (413, "too_large")
    shared.withdraw([evil.ticket])


def test_a_request_with_two_lengths_is_the_last_of_its_connection(shared, raw):
    raw.send(
        b"GET /v1/openapi.json HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
        b"GET /v1/openapi.json HTTP/1.1\r\nhost: x\r\n\r\n"
    )
    assert raw.answer().status == 200
    assert raw.answer() is None


def test_a_device_does_not_take_the_room_for_bodies_of_all(tmp_path):
    with ExitStack() as stack:
        gateway = stack.enter_context(serving(tmp_path, GatewaySettings(limits=OPEN)))
        raw = stack.enter_context(Raw(gateway))
        token = register(raw, gateway)
        gateway.give([order(1, "evil")])
        head = (
            f"POST /v1/results/1 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n"
            f"content-type: {SAFETENSORS}\r\ncontent-length: 1000\r\nexpect: 100-continue\r\n\r\n"
        )
        for _ in range(4):
            slow = stack.enter_context(Raw(gateway))
            slow.send(head.encode())
            assert slow.answer().status == 100  # its body is being received
        answer = raw.request("POST", "/v1/results/1", update(), token, content_type=SAFETENSORS)
        assert (answer.status, answer.error, answer.headers["retry-after"]) == (429, "rate", "5")
        other = stack.enter_context(Raw(gateway))
        token = register(other, gateway, "good")
        assert other.request("POST", "/v1/tasks", b"{}", token).status == 204


def test_a_result_that_is_larger_than_all_the_room_for_bodies_is_received_alone(tmp_path):
    limits = Limits(body_bytes_in_flight=100)
    with serving(tmp_path, GatewaySettings(limits=limits)) as gateway, Raw(gateway) as raw:
        token = register(raw, gateway)
        gateway.give([order(1, "evil")])
        assert raw.request("POST", "/v1/results/1", update(), token, content_type=SAFETENSORS).status == 200


def test_a_body_that_nobody_asked_for_ends_the_connection(shared, evil, raw):
    head = f"GET /v1/job HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {evil.token}\r\ncontent-length: {10**12}\r\n\r\n"
    raw.send(head.encode() + bytes(1000))
    assert raw.answer().status == 200
    assert raw.answer() is None
    shared.withdraw([evil.ticket])


@pytest.mark.parametrize(
    "request_",
    [
        b"\r\n\r\n\r\n\0\0\0",
        b"GET /nowhere HTTP/9.9\r\n\r\n",
        b"GET /\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST /v1/tasks HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n",
        b"POST /v1/tasks HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
        b"POST /v1/tasks HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"GET /nowhere HTTP/1.1\r\nhost: x\r\n" + b"x: y\r\n" * 5000 + b"\r\n",
        b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nx\0y: z\r\n\r\n",
        b"GET /nowhere HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_not_http_is_refused(shared, raw, request_):
    raw.send(request_)
    answer = raw.answer()
    assert answer is None or answer.status in (400, 401, 404)
    with Raw(shared) as good:
        assert good.request("GET", "/v1/openapi.json").status == 200


def test_what_is_not_tls_is_dropped(shared):
    host, _, port = shared.url.removeprefix("https://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=20) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        while plain.recv(4096):
            pass  # an alert of TLS
    with Raw(shared) as good:
        assert good.request("GET", "/v1/openapi.json").status == 200


def test_whoever_sends_or_reads_slowly_is_disconnected(tmp_path):
    limits = Limits(head_timeout_s=0.3, min_bytes_per_s=1e6)
    with serving(tmp_path, GatewaySettings(limits=limits)) as gateway:
        gateway.give([order(1, "evil")])
        with Raw(gateway) as raw:
            token = register(raw, gateway)
            raw.send(b"GET / HTTP/1.1\r\nx: ")  # a head without an end
            assert raw.answer() is None
        with Raw(gateway) as raw:
            assert raw.answer() is None  # nothing at all
        with Raw(gateway) as raw:
            raw.send(f"POST /v1/tasks HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n".encode())
            raw.send(b"content-length: 100\r\n\r\n{")  # a body without an end
            answer = raw.answer()
            assert (answer.status, answer.error) == (408, "slow")
        host, _, port = gateway.url.removeprefix("https://").rpartition(":")
        with socket.create_connection((host, int(port)), timeout=20) as silent:
            assert silent.recv(1) == b""  # no handshake
        assert (gateway.counts["refused.slow_head"], gateway.counts["refused.slow"]) == (2, 1)


def test_whoever_does_not_read_a_model_is_disconnected(tmp_path):
    settings = GatewaySettings(limits=Limits(head_timeout_s=0.3))
    cut = Heard("slow_reader")
    with serving(tmp_path, settings, model={"w": np.zeros(1 << 22, np.float32)}) as gateway, Raw(gateway) as raw, cut:
        token = register(raw, gateway)
        raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.send(f"GET /v1/models/0 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n".encode())
        assert cut.event.wait(20)
        assert gateway.counts["refused.slow_reader"] == 1


class Heard(logging.Handler):
    """Waits for a word in the log of connections."""

    def __init__(self, word):
        super().__init__()
        self.event = threading.Event()
        self._word = word
        self._logger = logging.getLogger("flare_edge.gateway.connection")

    def emit(self, record):
        if self._word in record.getMessage():
            self.event.set()

    def __enter__(self):
        self._logger.addHandler(self)
        self._logger.setLevel(logging.DEBUG)

    def __exit__(self, *_):
        self._logger.removeHandler(self)
        self._logger.setLevel(logging.NOTSET)


def test_connections_are_limited_by_address(tmp_path):
    limits = Limits(connections_per_address=3)
    with serving(tmp_path, GatewaySettings(limits=limits)) as gateway, ExitStack() as stack:
        allowed = [stack.enter_context(Raw(gateway)) for _ in range(3)]
        answers = [raw.request("GET", "/v1/openapi.json").status for raw in allowed]
        answer = stack.enter_context(Raw(gateway)).answer()
        assert (answers, answer.status, answer.error) == ([200] * 3, 503, "connections")
        assert [raw.request("GET", "/v1/openapi.json").status for raw in allowed] == [200] * 3
        assert gateway.counts["refused.connections"] == 1


def test_rates_are_limited_by_device_and_by_address(tmp_path):
    limits = Limits(requests_per_s=1.0, refusals_per_s=1.0, registrations_per_s=1.0)
    with serving(tmp_path, GatewaySettings(limits=limits)) as gateway:
        with Raw(gateway) as raw:
            token, other = register(raw, gateway), register(raw, gateway, "good")
            answers = [raw.request("POST", "/v1/tasks", b"{}", token) for _ in range(15)]
            assert [each.status for each in answers[:10]] == [204] * 10
            assert (answers[-1].status, answers[-1].error, answers[-1].headers["retry-after"]) == (429, "rate", "1")
            assert raw.request("POST", "/v1/tasks", b"{}", other).status == 204
        statuses = []
        for _ in range(15):
            with Raw(gateway) as raw:
                statuses.append(raw.request("POST", "/v1/tasks", b"{}", "guess").status)
        assert (statuses[:10], statuses[-1]) == ([401] * 10, 429)
        with Raw(gateway) as raw:
            assert raw.request("POST", "/v1/tasks", b"{}", other).status == 204  # from the same address
        statuses = []
        for number in range(12):
            with Raw(gateway) as raw:
                body = json.dumps({"invitation": invitation(gateway), "name": f"n{number}"}).encode()
                statuses.append(raw.request("POST", "/v1/devices", body).status)
        assert (statuses[0], statuses[-1]) == (201, 429)


def test_a_thousand_hostile_connections_at_once_do_not_disturb_a_good_device(tmp_path):
    limits = OPEN.model_copy(update={"connections_per_address": 600, "head_timeout_s": 2.0})
    with serving(tmp_path, GatewaySettings(limits=limits), update_timeout_s=0.2) as gateway:
        reports = Reports(gateway)
        with Client.join(gateway.join_link, name="good") as good:
            good.next_task(wait_s=0)
            hostile = [threading.Thread(target=attack, args=(gateway, number)) for number in range(8)]
            for thread in hostile:
                thread.start()
            slowest = 0.0
            for ticket in range(1, 31):
                gateway.give([order(ticket, "good")])
                start = time.monotonic()
                assert good.next_task(wait_s=20).ticket == ticket
                assert good.send_update(ticket, GOOD, num_examples=1)
                slowest = max(slowest, time.monotonic() - start)
            for thread in hostile:
                thread.join()
            assert slowest < 5
        refused = {code: number for code, number in gateway.counts.items() if code.startswith("refused.")}
        assert gateway.counts["results"] == 30
        assert sum(refused.values()) > 500, refused
    reports.join()
    assert sorted(ticket for batch in reports.batches for ticket in batch.done) == list(range(1, 31))


def attack(gateway, number):
    """Hold 125 connections open that send nonsense, or nothing."""
    guess = b"POST /v1/tasks HTTP/1.1\r\nhost: x\r\nauthorization: Bearer guess\r\ncontent-length: 2\r\n\r\n{}"
    kinds = [b"GET / HTTP/1.1\r\nx: ", b"\0\0\0\0\r\n\r\n", guess, b""]
    held = []
    for each in range(125):
        try:
            raw = Raw(gateway)
            held.append(raw)
            raw.send(kinds[(number + each) % len(kinds)])
        except OSError:
            continue  # that is what it deserves
    for raw in held:
        raw.answer()
        raw.close()

"""The client of a device against a gateway, over TLS."""

from __future__ import annotations

import json
import socket
import threading
import time

import numpy as np
import pytest
from gateways import MODEL, SCALE, Raw, batch_of, make, order, serving

from flare_edge.device.client import Client, RunOver
from flare_edge.errors import EdgeError
from flare_edge.gateway.registry import Registry
from flare_edge.gateway.settings import GatewaySettings

UPDATE = {"w": np.ones(3, np.float32), "b": np.float32(1.0)}


def test_a_device_joins_gets_a_task_and_reports(tmp_path):
    words = {"job_name": "digits", "description": "learns digits"}
    with serving(tmp_path, **words) as gateway, Client.join(gateway.join_link, name="phone") as client:
        assert client.device == "gw-1/phone"
        assert client.job == {"name": "digits", "description": "learns digits", "config": {"lr": 0.1}}
        gateway.give([order(1, "phone"), order(2, "other")])
        task = client.next_task()
        assert (task.ticket, task.kind, task.version, task.config) == (1, "train", 0, {"lr": 0.1})
        model = client.model(0)
        assert {name: (value.shape, value.dtype) for name, value in model.items()} == {
            name: (value.shape, value.dtype) for name, value in MODEL.items()
        }
        model["w"][:] = 7  # the caller's
        assert not client.model(0)["w"].any()
        assert client.send_update(1, UPDATE, num_examples=3, metrics={"loss": 0.5})
        gateway.withdraw([2])
        batch = batch_of(gateway)
        assert (list(batch.done), batch.sums[0].weight, batch.sums[0].metrics) == ([1], 3, {"loss": (1.5, 3)})
        np.testing.assert_array_equal(SCALE.decode(batch.sums[0].total, 3)["w"], np.ones(3))


def test_a_device_evaluates_or_fails(tmp_path):
    with serving(tmp_path) as gateway, Client.join(gateway.join_link, name="a") as client:
        gateway.give([order(1, "a", kind="evaluate")])
        assert client.next_task().kind == "evaluate"
        assert client.send_metrics(1, num_examples=10, metrics={"accuracy": 0.5})
        assert batch_of(gateway).sums[0].metrics == {"accuracy": (5.0, 10)}
        gateway.give([order(2, "a")])
        assert client.send_error(2, "no battery")
        assert batch_of(gateway).failed == {2: "no battery"}


def test_a_poll_waits_for_an_order(tmp_path):
    with serving(tmp_path) as gateway, Client.join(gateway.join_link, name="a") as client:
        assert client.next_task(wait_s=0.05) is None
        assert gateway.next_report().joined == ["gw-1/a"]
        timer = threading.Timer(0.1, gateway.give, [[order(1, "a")]])
        timer.start()
        assert client.next_task(wait_s=30).ticket == 1
        timer.join()


def test_a_task_that_was_withdrawn_is_not_an_error(tmp_path):
    with serving(tmp_path) as gateway, Client.join(gateway.join_link, name="a") as client:
        gateway.give([order(1, "a")])
        gateway.withdraw([1])
        assert not client.send_update(1, UPDATE, num_examples=1)


def test_credentials_are_kept_and_used_again(tmp_path):
    kept = tmp_path / "credentials.json"
    with serving(tmp_path) as gateway:
        for _ in range(2):
            with Client.join(gateway.join_link, credentials=kept) as client:
                device = client.device
                client.next_task(wait_s=0)
        assert gateway.devices() == [device]
        assert kept.stat().st_mode & 0o777 == 0o600


def test_devices_hear_that_the_run_is_over(tmp_path):
    with serving(tmp_path) as gateway, Client.join(gateway.join_link) as client:
        timer = threading.Timer(0.1, gateway.finish)
        timer.start()
        with pytest.raises(RunOver):
            client.next_task(wait_s=30)
        timer.join()


def test_a_device_that_left_is_not_known_any_more(tmp_path):
    with serving(tmp_path) as gateway, Client.join(gateway.join_link, name="a") as client:
        client.next_task(wait_s=0)
        client.leave()
        with pytest.raises(EdgeError, match=r"device gw-1/a .* join with an invitation"):
            client.next_task()
        assert gateway.devices() == []


def test_a_device_that_leaves_while_it_waits_has_left(tmp_path):
    with serving(tmp_path) as gateway, Client.join(gateway.join_link, name="a", credentials=tmp_path / "c") as waiting:
        assert waiting.next_task(wait_s=0) is None
        assert gateway.next_report().joined == ["gw-1/a"]
        answers = []
        poll = threading.Thread(target=lambda: answers.append(refusal(waiting)))
        poll.start()
        with Client.join(gateway.join_link, credentials=tmp_path / "c") as leaving:
            leaving.leave()
        poll.join()
        assert gateway.next_report().left == ["gw-1/a"]
        assert gateway.devices() == []
        assert "join with an invitation" in answers[0]


def refusal(client):
    with pytest.raises(EdgeError) as refused:
        client.next_task(wait_s=30)
    return str(refused.value)


def test_a_registration_whose_answer_was_lost_uses_an_invitation_once(tmp_path):
    with serving(tmp_path) as gateway, Raw(gateway) as raw:
        registry = Registry(tmp_path / "edge-devices.sqlite")
        values = {"invitation": registry.invite(uses=1), "request": "a secret of the device"}
        lost, found = (
            json.loads(raw.request("POST", "/v1/devices", json.dumps(values).encode()).body) for _ in range(2)
        )
        assert lost["device"] == found["device"]
        assert raw.request("POST", "/v1/tasks", b"{}", found["token"]).status == 204
        other = raw.request("POST", "/v1/devices", json.dumps(values | {"request": "of another device"}).encode())
        assert (other.status, other.error) == (403, "invitation")
        assert raw.request("POST", "/v1/tasks", b"{}", lost["token"]).status == 401
        assert len(registry.devices()) == 1
        registry.close()


def test_another_certificate_than_the_links_is_refused(tmp_path):
    with serving(tmp_path) as gateway:
        url, _, secret = gateway.join_link.partition("#")
        invitation, _, digest = secret.partition(".")
        with pytest.raises(EdgeError, match="another certificate"):
            Client.join(f"{url}#{invitation}.{'0' * len(digest)}")
        with pytest.raises(EdgeError, match="is not trusted"):
            Client.join(f"{url}#{invitation}")
        with Client.join(f"{url}#{invitation}", authorities=tmp_path / "certificate.pem") as client:
            assert client.next_task(wait_s=0) is None


@pytest.mark.parametrize("link", ["", "gateway:443", "ftp://gateway/#x", "https://gateway/#a.b", "https:///#x"])
def test_what_is_no_join_link_is_refused(link):
    with pytest.raises(EdgeError, match="is not a join link"):
        Client.join(link)


def test_a_gateway_that_is_not_there_is_given_up_after_a_while(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with pytest.raises(EdgeError, match=r"did not answer for 0\.3 s .*refused"):
        Client.join(f"https://127.0.0.1:{port}/#x", patience_s=0.3)


def test_a_device_goes_on_after_its_gateways_restart(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    settings = GatewaySettings(
        listen=f"127.0.0.1:{port}", certificate=tmp_path / "certificate.pem", key=tmp_path / "key.pem"
    )
    with serving(tmp_path, GatewaySettings(listen=f"127.0.0.1:{port}")) as gateway:
        client = Client.join(gateway.join_link, name="a")
        gateway.give([order(1, "a")])
        task = client.next_task()
    restarted = make(tmp_path, settings)
    restarted.give([order(1, "a")])
    timer = threading.Timer(0.3, restarted.start)
    timer.start()
    assert client.send_update(task.ticket, UPDATE, num_examples=1)  # tried again until it is there
    assert list(batch_of(restarted).done) == [1]
    timer.join()
    client.close()
    restarted.close()


def test_a_result_whose_answer_was_lost_is_sent_again_and_counts_once(tmp_path):
    with serving(tmp_path) as gateway, LosingProxy(gateway.url) as proxy:
        link = gateway.join_link.replace(gateway.url, proxy.url)
        with Client.join(link, name="a") as client:
            gateway.give([order(1, "a")])
            client.next_task()
            proxy.loses_next.set()
            assert client.send_update(1, UPDATE, num_examples=1)
        assert not proxy.loses_next.is_set()
        batch = batch_of(gateway)
        assert (list(batch.done), batch.sums[0].count) == ([1], 1)
        assert gateway.counts["repeated"] == 1


class LosingProxy:
    """Passes bytes on in both directions; on demand it drops the gateway's next bytes, and the connection."""

    def __init__(self, url: str) -> None:
        host, _, port = url.removeprefix("https://").rpartition(":")
        self._to = host, int(port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        self.loses_next = threading.Event()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self):
        while True:
            try:
                device, _ = self._listener.accept()
            except OSError:
                return
            gateway = socket.create_connection(self._to)
            for source, sink, loses in ((device, gateway, False), (gateway, device, True)):
                thread = threading.Thread(target=self._pass_on, args=(source, sink, loses))
                thread.start()
                self._threads.append(thread)

    def _pass_on(self, source, sink, loses):
        with source:
            while data := self._read(source):
                if loses and self.loses_next.is_set():
                    self.loses_next.clear()
                    break
                sink.sendall(data)
            sink.shutdown(socket.SHUT_RDWR) if sink.fileno() >= 0 else None

    @staticmethod
    def _read(source):
        try:
            return source.recv(1 << 16)
        except OSError:
            return b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)


def test_a_device_in_mid_task_learns_that_the_run_is_over(tmp_path):
    with serving(tmp_path) as gateway, Client.join(gateway.join_link, name="a") as client:
        gateway.give([order(1, "a")])
        assert client.next_task().ticket == 1
        gateway.withdraw([1])
        gateway.finish()
        closing = threading.Thread(target=gateway.close)
        closing.start()
        assert not client.send_update(1, UPDATE, num_examples=3, metrics={})
        with pytest.raises(RunOver):
            client.next_task()
        closing.join(30)
        assert not closing.is_alive()


def test_a_gateway_does_not_wait_for_devices_that_are_told_or_gone(tmp_path):
    with serving(tmp_path) as gateway:
        with Client.join(gateway.join_link, name="a") as told, Client.join(gateway.join_link, name="b") as gone:
            assert told.next_task(wait_s=0) is None
            assert gone.next_task(wait_s=0) is None
            gone.leave()
            gateway.finish()
            with pytest.raises(RunOver):
                told.next_task()
        started = time.monotonic()
        gateway.close()
        assert time.monotonic() - started < 3

"""The routes of NVFlare's devices."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from gateways import SCALE, Raw, batch_of, invitation, order, serving

from flare_edge.gateway.settings import GatewaySettings

TICKETS = itertools.count(1)
DIFF = {"data_kind": "WEIGHT_DIFF", "data": {"w": [1, 2.5, -1], "b": 0.5}, "meta": {"num_examples": 4}}


@pytest.fixture
def gateway(tmp_path):
    with serving(tmp_path, GatewaySettings(nvflare_routes=True), job_name="digits") as running:
        yield running


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A gateway for tests of refusals."""
    folder = tmp_path_factory.mktemp("shared")
    with serving(folder, GatewaySettings(nvflare_routes=True), job_name="digits") as running:
        yield running


class Phone:
    def __init__(self, gateway, raw, name="phone"):
        self._raw = raw
        self._name = name
        body = json.dumps({"invitation": invitation(gateway), "name": name}).encode()
        self.token = json.loads(raw.request("POST", "/v1/devices", body).body)["token"]

    def post(self, path, expected=200, /, *, name=None, **values):
        headers = {"x_flare_device_id": name or self._name, "x_flare_user_info": f"user_id=5&auth_token={self.token}"}
        answer = self._raw.request("POST", path, json.dumps(values).encode(), **headers)
        assert answer.status == expected
        return json.loads(answer.body)


def test_a_device_asks_for_its_job_its_task_and_reports(gateway):
    with Raw(gateway) as raw:
        phone = Phone(gateway, raw)
        job = phone.post("/job", job_name="digits", capabilities={"methods": []})
        assert (job["status"], job["job_id"], job["job_data"]) == ("OK", "digits", {"lr": 0.1})
        assert phone.post("/job", job_name="letters")["status"] == "NO_JOB"
        gateway.give([order(1, "phone")])
        assert phone.post("/selection?job_id=digits")["selection"] == {"phone": "1"}
        task = phone.post("/task?job_id=digits", cookie={})
        assert (task["status"], task["task_id"], task["task_name"]) == ("OK", "1", "train")
        assert task["task_data"]["data"] == {"w": [0, 0, 0], "b": 0}
        assert task["cookie"] == {"model_version": 0}
        done = phone.post("/result?job_id=digits&task_id=1&task_name=train", result=DIFF)
        assert (done["status"], done["task_id"]) == ("OK", "1")
        batch = batch_of(gateway)
        assert (list(batch.done), batch.sums[0].weight) == ([1], 4)
        np.testing.assert_array_equal(SCALE.decode(batch.sums[0].total, 4)["w"], [1, 2.5, -1])
        gateway.give([order(2, "phone", kind="evaluate")])
        metrics = {"data_kind": "METRICS", "data": {"accuracy": 0.5}, "meta": {"num_examples": 2}}
        assert phone.post("/result?task_id=2", result=metrics)["status"] == "OK"
        assert batch_of(gateway).sums[0].metrics == {"accuracy": (1.0, 2)}
        gateway.give([order(3, "phone")])
        assert phone.post("/result?task_id=3", status="ERROR")["status"] == "OK"
        assert batch_of(gateway).failed == {3: "the device reports ERROR"}
        gateway.finish()
        assert phone.post("/task?job_id=digits")["status"] == "DONE"


@pytest.mark.parametrize(
    ("result", "status"),
    [
        (None, 422),
        ([], 422),
        ({"data_kind": "WEIGHTS", "data": {}}, 422),
        (DIFF | {"data": {"w": [1, 2, 3]}}, 422),
        (DIFF | {"data": {"w": [1, 2, 3], "b": 0, "c": 0}}, 422),
        (DIFF | {"data": {"w": [1, [2], 3], "b": 0}}, 422),
        (DIFF | {"data": {"w": ["1", "2", "3"], "b": 0}}, 422),
        (DIFF | {"data": {"w": [1e300, 0, 0], "b": 0}}, 422),
        (DIFF | {"data": {"w": [float("nan"), 0, 0], "b": 0}}, 422),
        (DIFF | {"data": {"w": [10**400, 0, 0], "b": 0}}, 422),
        (DIFF | {"meta": {"num_examples": -1}}, 422),
        (DIFF | {"meta": {"num_examples": {}}}, 422),
        (DIFF | {"meta": []}, 422),
    ],
)
def test_results_that_do_not_fit_are_refused(shared, result, status):
    with Raw(shared) as raw:
        ticket = next(TICKETS)
        phone = Phone(shared, raw, f"phone{ticket}")
        shared.give([order(ticket, f"phone{ticket}")])
        refused = phone.post(f"/result?task_id={ticket}", status, result=result)
        assert refused["status"] == "INVALID_REQUEST"
        assert [each.ticket for each in shared.open_tickets()] == [ticket]
        shared.withdraw([ticket])


def test_whoever_does_not_prove_its_name_is_refused(gateway):
    with Raw(gateway) as raw:
        phone = Phone(gateway, raw)
        assert phone.post("/task", 403, name="tablet")["status"] == "INVALID_REQUEST"
        user = {"user_info": {"auth_token": phone.token}}
        assert raw.request("POST", "/job", json.dumps(user).encode(), x_flare_device_id="phone").status == 200
        answer = raw.request("POST", "/job", b"{}")
        assert (answer.status, json.loads(answer.body)["status"]) == (400, "INVALID_REQUEST")
    with Raw(gateway) as raw:
        assert raw.request("POST", "/job", b"{}", x_flare_device_id="phone").status == 401


def test_a_header_of_many_fields_is_refused(shared):
    with Raw(shared) as raw:
        flood = "&".join(["user_id=5"] * 40)
        answer = raw.request("POST", "/job", b"{}", x_flare_device_id="phone", x_flare_user_info=flood)
    assert (answer.status, json.loads(answer.body)["status"]) == (400, "INVALID_REQUEST")


def test_the_routes_are_not_served_unless_the_owner_says_so(tmp_path):
    with serving(tmp_path) as gateway, Raw(gateway) as raw:
        assert raw.request("POST", "/job", b"{}", x_flare_device_id="phone").status == 404

"""Requests generated from the OpenAPI description: the gateway answers each as the description says, never with 5xx.

Needs ``pip install schemathesis``, which nothing else does.
"""

from __future__ import annotations

import json

import pytest
from gateways import invitation, order, serving
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from flare_edge.gateway.settings import GatewaySettings, Limits
from flare_edge.protocol import openapi

REQUESTS = 10_000
MANY = Limits(registrations_per_s=1e9, refusals_per_s=1e9, requests_per_s=1e9, connections_per_address=10_000)


@pytest.mark.at_length
@pytest.mark.timeout(3600)
@pytest.mark.filterwarnings("default")  # of schemathesis
def test_generated_requests_are_answered_as_described(tmp_path):
    schemathesis = pytest.importorskip("schemathesis")
    import requests
    from schemathesis import checks

    used = [
        checks.not_a_server_error,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_schema_conformance,
    ]
    schema = schemathesis.openapi.from_dict(openapi())
    operations = [each.ok() for each in schema.get_all_operations()]
    sent = 0
    with serving(tmp_path, GatewaySettings(limits=MANY)) as gateway, requests.Session() as session:
        session.trust_env = False
        session.verify = str(tmp_path / "certificate.pem")
        device = Device(session, gateway)
        for operation in operations:
            strategies = [operation.as_strategy(generation_mode=mode) for mode in schemathesis.GenerationMode]

            @settings(
                max_examples=REQUESTS // 5,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=st.one_of(strategies), is_known=st.integers(0, 9), ticket=st.integers(0, 3))
            def send(case, is_known, ticket):
                nonlocal sent
                if is_known:
                    case.headers["Authorization"] = f"Bearer {device.token()}"
                if ticket and "ticket" in case.path_parameters:
                    case.path_parameters["ticket"] = device.ticket()
                if isinstance(case.body, dict) and ticket and "invitation" in case.body:
                    case.body["invitation"] = invitation(gateway)
                response = case.call(base_url=gateway.url, session=session, timeout=30, verify=session.verify)
                case.validate_response(response, checks=used)
                sent += 1

            send()
        assert sent >= REQUESTS
        answered = dict(gateway.counts)
    assert answered["check_ins"] > 0
    assert answered["refused.malformed"] > 0


class Device:
    """A registered device that always has a task; joins again after it has left."""

    def __init__(self, session, gateway):
        self._session = session
        self._gateway = gateway
        self._tickets = 0
        self._name = ""
        self._token = ""

    def token(self):
        if not self._name or f"gw-1/{self._name}" not in self._gateway.devices():
            self._name = f"device{self._tickets}"
            body = json.dumps({"invitation": invitation(self._gateway), "name": self._name})
            answer = self._session.post(f"{self._gateway.url}/v1/devices", data=body)
            self._token = answer.json()["token"]
            self._gateway.poll(f"gw-1/{self._name}")
            self.ticket()
        return self._token

    def ticket(self):
        if not self._gateway.open_tickets():
            self._tickets += 1
            self._gateway.give([order(self._tickets, self._name, kind=("train", "evaluate")[self._tickets % 2])])
        return self._gateway.open_tickets()[-1].ticket

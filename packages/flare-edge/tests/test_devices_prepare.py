"""Gateways that are prepared before a run."""

from __future__ import annotations

import socket

import pytest
from one_gateway import Root

from flare_edge.device.client import Client
from flare_edge.device.data import clusters
from flare_edge.device.programs import initial_params
from flare_edge.device.run import Done, run_device
from flare_edge.device.work import ProgramWork
from flare_edge.errors import EdgeError
from flare_edge.fedbuff import DeviceManagerConfig, FedBuffSettings, ModelManagerConfig
from flare_edge.gateway.gateway import Gateway
from flare_edge.gateway.prepare import prepare_gateway
from flare_edge.gateway.settings import GatewaySettings

CONFIG = {"program": {"kind": "mlp", "layers": [4, 3]}, "lr": 0.1}
SETTINGS = FedBuffSettings(
    models=ModelManagerConfig(num_updates_for_model=1, max_model_version=1, max_update_norm=100.0),
    devices=DeviceManagerConfig(device_selection_size=1),
)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


def test_the_link_of_a_prepared_gateway_lasts_over_restarts(tmp_path):
    local = tmp_path / "local"
    link = prepare_gateway(local, listen=f"127.0.0.1:{free_port()}")
    for number in range(2):
        settings = GatewaySettings.read(local)
        gateway = Gateway("gw", tmp_path / str(number), settings, SETTINGS.models.scale, CONFIG, update_timeout_s=0.05)
        gateway.start()
        with Root(gateway, initial_params(CONFIG), SETTINGS), Client.join(link) as client:
            assert run_device(client, ProgramWork(clusters(9, inputs=4, classes=3, seed=0))) == Done(trained=1)


def test_a_site_is_not_prepared_twice(tmp_path):
    prepare_gateway(tmp_path, listen="127.0.0.1:8443")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.suffix in (".json", ".pem")}
    with pytest.raises(EdgeError, match="keeps its certificate"):
        prepare_gateway(tmp_path, listen="127.0.0.1:8443")
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.suffix in (".json", ".pem")}
    assert {"edge.json", "certificate.pem", "key.pem"} <= set(before)


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "nowhere"])
def test_an_address_that_does_not_last_is_refused(tmp_path, listen):
    with pytest.raises(EdgeError, match=rf"^.*listen.*{listen}.*$"):  # one line
        prepare_gateway(tmp_path / "local", listen=listen)
    assert not (tmp_path / "local").exists()


def test_the_public_address_is_in_the_link(tmp_path):
    link = prepare_gateway(tmp_path, listen="0.0.0.0:8443", public_url="https://gateway.example:8443/")
    assert link.startswith("https://gateway.example:8443/#")

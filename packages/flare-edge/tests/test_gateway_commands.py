"""``flare edge invite``, ``devices`` and ``revoke``, and what a site's owner sets."""

from __future__ import annotations

import json
import socket

import pytest
import typer
from gateways import serving
from typer.testing import CliRunner

from flare_edge.device.client import Client
from flare_edge.errors import EdgeError
from flare_edge.gateway.commands import add_to
from flare_edge.gateway.settings import GatewaySettings


@pytest.fixture
def run(tmp_path):
    app = typer.Typer()
    add_to(app)
    local = tmp_path / "local"
    local.mkdir()

    def run(*arguments):
        done = CliRunner().invoke(app, [*arguments, "--local", str(local)], catch_exceptions=False)
        assert done.exit_code == 0
        return done.stdout

    run.local = local
    return run


def settings(run, **values):
    (run.local / "edge.json").write_text(json.dumps(values))
    return GatewaySettings.read(run.local)


def test_a_device_joins_by_an_invitation_of_the_sites_owner(run, tmp_path):
    with serving(tmp_path / "run", settings(run)) as gateway:
        assert gateway.join_link == f"{gateway.url}/"
        link = run("invite", "--note", "the phone of the ward").strip()
        with Client.join(link, name="phone") as client:
            assert client.next_task(wait_s=0) is None
            with pytest.raises(EdgeError, match="used up"):
                Client.join(link)
            listed = run("devices")
            assert "0 left  valid until" in listed
            assert "the phone of the ward" in listed
            assert "device phone  since" in listed
            assert run("revoke", "phone") == "device phone is revoked\n"
            with pytest.raises(EdgeError, match="join with an invitation"):
                client.next_task(wait_s=0)
        found = json.loads(run("devices", "--format", "json"))
        assert found["devices"][0]["revoked"] is not None


def test_a_folder_that_is_not_there_is_not_made_by_a_question(run, tmp_path):
    run.local.rmdir()
    with pytest.raises(EdgeError, match=f"no folder {run.local}"):
        run("devices")
    assert not run.local.exists()


def test_an_invitation_can_be_made_before_the_gateway_runs(run, tmp_path):
    token = run("invite", "--uses", "0").strip()
    with serving(tmp_path / "run", settings(run)) as gateway:
        digest = json.loads((run.local / "edge-gateway.json").read_text())["sha256"]
        for _ in range(2):
            Client.join(f"{gateway.url}/#{token}.{digest}").close()
        id_ = json.loads(run("devices", "--format", "json"))["invitations"][0]["id"]
        assert run("revoke", id_) == f"invitation {id_} is revoked\n"
        with pytest.raises(EdgeError, match="revoked"):
            Client.join(f"{gateway.url}/#{token}.{digest}")
        assert len(json.loads(run("devices", "--format", "json"))["devices"]) == 2


def test_a_prepared_link_is_that_of_the_gateway(run, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    link = run("prepare", "--listen", f"127.0.0.1:{port}").strip()
    another = run("invite").strip()
    with serving(tmp_path / "run", GatewaySettings.read(run.local)), Client.join(link) as client:
        assert client.next_task(wait_s=0) is None
        Client.join(another).close()
    assert "\x1b[" in run("invite", "--qr")


def test_devices_of_an_earlier_run_are_known_in_the_next(run, tmp_path):
    own = settings(run, listen="127.0.0.1:0")
    with serving(tmp_path / "first", own) as gateway, Client.join(run("invite").strip(), name="a") as client:
        token = client._connection.token
    with serving(tmp_path / "second", own) as gateway:
        digest = json.loads((run.local / "edge-gateway.json").read_text())["sha256"]
        with Client(gateway.url, "gw-1/a", token, sha256=digest) as client:
            assert client.next_task(wait_s=0) is None


def test_the_open_invitation_of_the_last_run_is_not_valid_any_more(run, tmp_path):
    own = settings(run, invitations="open")
    with serving(tmp_path / "first", own) as gateway:
        invitation = gateway.join_link.partition("#")[2].partition(".")[0]
    with serving(tmp_path / "second", own) as gateway:
        Client.join(gateway.join_link).close()
        digest = gateway.join_link.rpartition(".")[2]
        with pytest.raises(EdgeError, match="revoked"):
            Client.join(f"{gateway.url}/#{invitation}.{digest}")


def test_an_expired_invitation_is_refused(run, tmp_path):
    with serving(tmp_path / "run", settings(run)), pytest.raises(EdgeError, match="expired"):
        Client.join(run("invite", "--days", "1e-9").strip())


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"listen": "everywhere"}, "listen"),
        ({"lisen": "127.0.0.1:1"}, "lisen"),
        ({"certificate": "c.pem"}, "certificate and key need each other"),
        ({"plain_http": True, "listen": "0.0.0.0:80"}, "plain_http is for a loopback address"),
        ({"limits": {"connections": 0}}, "limits.connections"),
        ({"public_url": "gateway.example"}, "public_url"),
    ],
)
def test_settings_that_cannot_be_used_are_refused_by_name(run, values, problem):
    with pytest.raises(EdgeError, match=problem) as refused:
        settings(run, **values)
    assert "edge.json" in str(refused.value)


def test_a_settings_file_that_is_no_json_is_refused_by_name(run):
    (run.local / "edge.json").write_text("{")
    with pytest.raises(EdgeError, match=r"edge\.json is not valid JSON"):
        GatewaySettings.read(run.local)


def test_an_address_in_use_or_a_wrong_certificate_is_refused_by_name(run, tmp_path):
    with serving(tmp_path / "run") as gateway:
        taken = gateway.url.removeprefix("https://")
        with (
            pytest.raises(EdgeError, match=f"cannot listen at {taken}"),
            serving(tmp_path / "b", settings(run, listen=taken)),
        ):
            pass
    (run.local / "c.pem").write_text("nonsense")
    with (
        pytest.raises(EdgeError, match=r"c\.pem"),
        serving(tmp_path / "c", settings(run, certificate="c.pem", key="c.pem")),
    ):
        pass


def test_plain_http_is_possible_on_loopback(run, tmp_path):
    own = settings(run, plain_http=True, invitations="open")
    with serving(tmp_path / "run", own) as gateway, Client.join(gateway.join_link) as client:
        assert gateway.url.startswith("http://127.0.0.1:")
        assert client.next_task(wait_s=0) is None

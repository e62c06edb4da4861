"""``flare renew`` of the server's kit, next to the project's authority."""

from __future__ import annotations

import pytest

from flare_deploy.daemons import pid_of
from flare_deploy.provision.kit import sign_kit, write_kit
from flare_deploy.provision.project import Project
from flare_transport.certificates import issue


def test_the_servers_certificate_is_renewed_and_its_sites_reconnect(shell, tmp_path):
    shell.flare("up", "--port", shell.free_port())
    shell.flare("join", shell.flare("invite", "site-1").strip())
    certificate = tmp_path / "flare-project" / "server" / "startup" / "certificate.pem"
    before = certificate.read_bytes()
    printed = shell.flare("renew", "flare-project/server")
    assert "the certificate of server is valid until" in printed
    assert certificate.read_bytes() != before
    shell.flare("join", shell.flare("invite", "site-2").strip())  # it serves again, and its certificate is accepted
    assert shell.json("status")["certificate_days_left"] > 364


@pytest.mark.at_length
def test_a_client_continues_if_its_certificate_cannot_be_renewed(shell, tmp_path):
    shell.flare("up", "--port", shell.free_port())
    shell.flare("join", shell.flare("invite", "site-1").strip())
    shell.flare("down")
    client = pid_of("client", tmp_path / "site-1")
    assert "is the server at grpc://" in shell.flare("renew", "site-1", code=1)
    assert pid_of("client", tmp_path / "site-1") == client is not None
    shell.flare("up")
    assert "the certificate of site-1 is valid until" in shell.flare("renew", "site-1")
    assert pid_of("client", tmp_path / "site-1") not in (client, None)


@pytest.mark.at_length
def test_a_servers_expired_certificate_is_renewed(shell, tmp_path):
    project = Project.create(tmp_path / "flare-project", name="old", address=f"grpc://127.0.0.1:{shell.free_port()}")
    ended = issue(project.authority, "server", valid_days=0)
    folder = tmp_path / "flare-project" / "server"
    info = project.make_kit(tmp_path / "another", "server", "server").info
    write_kit(folder, info, ended, sign_kit(project.authority, info, ended.certificate), replace=True)
    assert "expired" in shell.flare("up", code=1)
    shell.flare("renew", folder)
    shell.flare("up")
    assert shell.json("status")["certificate_days_left"] > 364

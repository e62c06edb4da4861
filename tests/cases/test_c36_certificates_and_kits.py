"""C36: certificates pass strict checks, and every fault of a kit produces one message, without restarts."""

from __future__ import annotations

import datetime
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509

from flare_deploy.provision.kit import Kit, KitError, KitInfo, sign_kit
from flare_deploy.provision.project import Project
from flare_deploy.provision.tokens import Invitation, make_invitation
from flare_transport import certificates
from flare_transport.certificates import issue, make_authority, make_request, sign_request


@pytest.fixture
def project(tmp_path):
    made = Project.create(tmp_path / "project", name="hospitals", address="grpc://127.0.0.1:1")
    made.make_kit(tmp_path / "site-1", "site-1", "client")
    made.make_kit(tmp_path / "site-2", "site-2", "client")
    return made


def client(folder: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "flare_deploy.cli", "client", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=20)


def refused(folder: Path, *words: str) -> None:
    """Both ways to use a kit report its fault; the command exits with code 1."""
    with pytest.raises(KitError) as caught:
        Kit.load(folder)
    done = client(folder)
    assert done.returncode == 1
    for word in words:
        assert word in str(caught.value)
        assert word in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
@pytest.mark.parametrize("name", ["site-1", "SITE-Upper", "s" * 70, "admin@example.org"])
def test_the_chain_passes_strict_verification(tmp_path, project, name):
    credentials = issue(project.authority, name)
    (tmp_path / "leaf.pem").write_bytes(credentials.certificate)
    (tmp_path / "ca.pem").write_bytes(credentials.authority)
    command = ["openssl", "verify", "-x509_strict", "-check_ss_sig", "-CAfile", "ca.pem", "leaf.pem"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_clock_that_is_five_minutes_behind_is_tolerated(project):
    certificate = x509.load_pem_x509_certificate(issue(project.authority, "site-1").certificate)
    authority = x509.load_pem_x509_certificate(project.authority.certificate)
    earliest = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=4, seconds=30)
    assert certificate.not_valid_before_utc < earliest
    assert authority.not_valid_before_utc < earliest


def test_an_expired_kit_says_when_it_expired(tmp_path, project, monkeypatch):
    monkeypatch.setattr(certificates, "BACKDATED", datetime.timedelta(days=9))
    _with_certificate_of(tmp_path / "site-1", project, "site-1", valid_days=-2)
    monkeypatch.undo()
    refused(tmp_path / "site-1", "expired on ", "ask for a new invitation")


def test_a_kit_from_the_future_says_that_the_clock_is_wrong(tmp_path, project, monkeypatch):
    monkeypatch.setattr(certificates, "BACKDATED", -certificates.BACKDATED * 12)
    _with_certificate_of(tmp_path / "site-1", project, "site-1", valid_days=10)
    monkeypatch.undo()
    refused(tmp_path / "site-1", "not yet valid", "set the clock")


@pytest.mark.parametrize("name", ["kit.json", "certificate.pem", "authority.pem", "signature.json"])
def test_a_changed_file_is_named(tmp_path, project, name):
    path = tmp_path / "site-1" / "startup" / name
    content = bytearray(path.read_bytes())
    at = content.index(b"site-1") if name == "kit.json" else len(content) // 2
    content[at] = content[at] ^ 1 if content[at] ^ 1 >= 33 else content[at] ^ 2
    path.write_bytes(content)
    with pytest.raises(KitError, match=str(path) if name != "authority.pem" else "startup") as caught:
        Kit.load(tmp_path / "site-1")
    assert any(word in str(caught.value) for word in ("was changed", "cannot be read"))
    done = client(tmp_path / "site-1")
    assert done.returncode == 1
    assert "startup" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_key_of_another_site_does_not_match(tmp_path, project):
    shutil.copy(tmp_path / "site-2" / "startup" / "private.key", tmp_path / "site-1" / "startup" / "private.key")
    refused(tmp_path / "site-1", "do not belong together")


def test_a_missing_file_is_named(tmp_path, project):
    (tmp_path / "site-1" / "startup" / "private.key").unlink()
    refused(tmp_path / "site-1", "private.key", "is ")


def test_a_kit_is_of_one_kind(tmp_path, project):
    with pytest.raises(KitError, match="is the kit of the client site-1; a kit of kind 'admin' is needed"):
        Kit.load(tmp_path / "site-1", kind="admin")


def test_a_certificate_of_another_authority_is_refused(tmp_path, project):
    startup = tmp_path / "site-1" / "startup"
    stranger = issue(make_authority("others"), "site-1")
    values = json.loads((startup / "kit.json").read_text())
    values.pop("format")
    (startup / "certificate.pem").write_bytes(stranger.certificate)
    (startup / "private.key").write_bytes(stranger.private_key)
    (startup / "signature.json").write_bytes(sign_kit(project.authority, KitInfo(**values), stranger.certificate))
    refused(tmp_path / "site-1", "is not trusted here")


@pytest.mark.parametrize("damage", [lambda token: token[:-30], lambda token: "flare2-" + token[7:], lambda _: "hello"])
def test_a_damaged_token_is_refused(damage, project):
    invitation = make_invitation(project.authority, KitInfo("site-9", "client", "p", "grpc://h:1"), valid_days=1)
    token = invitation.token()
    wrapped = "\n".join(token[start : start + 60] for start in range(0, len(token), 60))
    assert Invitation.read(wrapped) == invitation
    with pytest.raises(KitError, match="invitation"):
        Invitation.read(damage(token))


def _with_certificate_of(folder: Path, project: Project, name: str, *, valid_days: int) -> None:
    """Replace a kit's certificate with a properly signed one with other validity dates."""
    startup = folder / "startup"
    key, request = make_request(name)
    certificate = sign_request(project.authority, request, name=name, valid_days=valid_days)
    values = json.loads((startup / "kit.json").read_text())
    values.pop("format")
    (startup / "private.key").write_bytes(key)
    (startup / "certificate.pem").write_bytes(certificate)
    (startup / "signature.json").write_bytes(sign_kit(project.authority, KitInfo(**values), certificate))

"""Start-up kits: what a server, a site or an administrator needs to take part in a project.

<kit>/startup/kit.json         who it is for, and where the server is
<kit>/startup/certificate.pem  its certificate
<kit>/startup/private.key      its key, on the curve P-256; made where the kit lies, if that machine joined by a token
<kit>/startup/authority.pem    the project's authority, the only one that is trusted
<kit>/startup/signature.json   digests of the other files but the key, signed by the authority
<kit>/local/                   what the machine's owner decides
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from flare_core import FlareError
from flare_core.job import check_name
from flare_deploy.participants import known_kinds
from flare_transport import Credentials
from flare_transport.certificates import Authority, check_credentials, verified_key

__all__ = [
    "Kit",
    "KitError",
    "KitInfo",
    "check_participant",
    "fingerprint",
    "kit_info",
    "sign_kit",
    "write_kit",
]

KIT, CERTIFICATE, KEY, AUTHORITY, SIGNATURE = (
    "kit.json",
    "certificate.pem",
    "private.key",
    "authority.pem",
    "signature.json",
)
SIGNED = (KIT, CERTIFICATE, AUTHORITY)
WARN_DAYS = 30
MAX_FILE_BYTES = 1 << 20


class KitError(FlareError):
    """A start-up kit is incomplete, was changed, has expired, or is not of this project."""


def check_participant(name: str, *, what: str = "a participant's name") -> None:
    """Refuse what nobody can be called: a participant's name is a folder's, too, and may hold ``@``.

    Raises:
        JobError: names the value and the rule.
    """
    check_name(name.replace("@", "-"), what=what)


@dataclass(frozen=True, slots=True)
class KitInfo:
    """What kit.json holds.

    Attributes:
        name: of the site, the relay, the administrator or ``server``.
        kind: ``server``, ``admin``, or one of :mod:`flare_deploy.participants`, such as ``client`` or ``relay``.
        project: the project's name.
        address: where the server is reached, ``grpc://host:port``, or the relay that leads to it.
        server: the server's name.
        role: of an administrator.
        org: whom it belongs to.
        via: the relay's name, if one listens at ``address``.
        listen: of a relay, or another kind that forwards: where those below it reach it.
    """

    name: str
    kind: str
    project: str
    address: str
    server: str = "server"
    role: str = ""
    org: str = ""
    via: str = ""
    listen: str = ""

    @property
    def listener(self) -> str:
        """The cell to expect at ``address``."""
        return self.via or self.server

    def to_json(self) -> bytes:
        """The file's content."""
        return (json.dumps({"format": 1, **asdict(self)}, indent=2) + "\n").encode()


@dataclass(frozen=True, slots=True)
class Kit:
    """A kit that was checked.

    Attributes:
        folder: where it lies.
        info: who it is for.
        credentials: what it proves that with.
        expires: when the certificate ends.
    """

    folder: Path
    info: KitInfo
    credentials: Credentials
    expires: datetime

    @classmethod
    def load(cls, folder: str | Path, *, kind: str | None = None) -> Kit:
        """Read a kit and check all of it.

        Args:
            folder: the kit, or its ``startup`` folder.
            kind: what it must be for; None takes any.
        Raises:
            KitError: it cannot be used; says which file, and why.
        """
        folder = Path(folder).expanduser().absolute()
        if folder.name == "startup":
            folder = folder.parent
        content = {name: _read(folder / "startup" / name) for name in (*SIGNED, KEY, SIGNATURE)}
        _check_signature(folder / "startup", content)
        info = _info(folder / "startup" / KIT, content[KIT])
        if kind is not None and info.kind != kind:
            raise KitError(f"{folder} is the kit of the {info.kind} {info.name}; one of kind '{kind}' is needed here")
        credentials = Credentials(content[CERTIFICATE], content[KEY], content[AUTHORITY])
        expires = check_time(content[CERTIFICATE], f"the certificate of {info.name} ({folder})")
        try:
            check_credentials(credentials, info.name)
            verified_key(content[CERTIFICATE], content[AUTHORITY], info.name)
        except FlareError as error:
            raise KitError(f"{folder}: {error}; get a new kit, or a token to join with") from error
        return cls(folder, info, credentials, expires)

    @property
    def days_left(self) -> float:
        """How long the certificate is still valid."""
        return (self.expires - datetime.now(UTC)).total_seconds() / 86400

    @property
    def warning(self) -> str | None:
        """What to say about the certificate's end, if it is near."""
        if self.days_left > WARN_DAYS:
            return None
        return (
            f"the certificate of {self.info.name} expires on {self.expires:%Y-%m-%d}, in {self.days_left:.0f} days;"
            " renew it with 'flare renew'"
        )


def kit_info(folder: Path) -> KitInfo:
    """Return who a kit is for, even if its certificate has ended.

    Raises:
        KitError: it is incomplete, or was changed.
    """
    content = {name: _read(folder / "startup" / name) for name in (*SIGNED, SIGNATURE)}
    _check_signature(folder / "startup", content)
    return _info(folder / "startup" / KIT, content[KIT])


def write_kit(
    folder: Path, info: KitInfo, credentials: Credentials, signature: bytes, *, replace: bool = False
) -> Path:
    """Write a kit; the key is readable by its owner only.

    Raises:
        KitError: there is one already, and it is not to be replaced.
    """
    startup = folder / "startup"
    if (startup / KIT).exists() and not replace:
        raise KitError(f"{folder} holds a kit already; choose another folder, or remove it")
    startup.mkdir(parents=True, exist_ok=True)
    (folder / "local").mkdir(exist_ok=True)
    os.chmod(folder, 0o700)
    write_private(startup / KEY, credentials.private_key)
    for name, content in (
        (KIT, info.to_json()),
        (CERTIFICATE, credentials.certificate),
        (AUTHORITY, credentials.authority),
        (SIGNATURE, signature),
    ):
        _write(startup / name, content)
    return folder


def sign_kit(authority: Authority, info: KitInfo, certificate: bytes) -> bytes:
    """Return the content of signature.json for a kit."""
    files = {KIT: info.to_json(), CERTIFICATE: certificate, AUTHORITY: authority.certificate}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    signer = serialization.load_pem_private_key(authority.private_key, None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    signature = signer.sign(_signed_text(digests), ec.ECDSA(hashes.SHA256()))
    return (
        json.dumps({"sha256": digests, "signature": base64.b64encode(signature).decode()}, indent=2) + "\n"
    ).encode()


def fingerprint(certificate: bytes) -> str:
    """The SHA-256 of a certificate in PEM, in hexadecimal."""
    return x509.load_pem_x509_certificate(certificate).fingerprint(hashes.SHA256()).hex()


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    partial.replace(path)


def check_time(certificate: bytes, what: str) -> datetime:
    """Return when a certificate ends.

    Raises:
        KitError: it has ended, or has not begun, by this machine's clock.
    """
    try:
        loaded = x509.load_pem_x509_certificate(certificate)
    except ValueError as error:
        raise KitError(f"{what} is no certificate in PEM ({error})") from error
    now = datetime.now(UTC)
    if now > loaded.not_valid_after_utc:
        raise KitError(f"{what} expired on {loaded.not_valid_after_utc:%Y-%m-%d %H:%M} UTC; ask for a new invitation")
    if now < loaded.not_valid_before_utc:
        raise KitError(
            f"{what} is not yet valid: it begins on {loaded.not_valid_before_utc:%Y-%m-%d %H:%M} UTC, and the clock"
            f" here says {now:%Y-%m-%d %H:%M} UTC; set the clock"
        )
    return loaded.not_valid_after_utc


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_bytes(content)
    partial.replace(path)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise KitError(f"{path}: {error.strerror}; is {path.parent.parent} a start-up kit?") from error
    if len(content) > MAX_FILE_BYTES:
        raise KitError(f"{path} has more than {MAX_FILE_BYTES} bytes, as no file of a kit has; get a new kit")
    return content


def _info(path: Path, content: bytes) -> KitInfo:
    try:
        values: dict[str, Any] = json.loads(content)
        values.pop("format")
        info = KitInfo(**values)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise KitError(f"{path} cannot be read ({error}); get a new kit") from error
    if not all(type(value) is str for value in asdict(info).values()):
        raise KitError(f"{path} holds something else than texts; get a new kit")
    if info.kind not in known_kinds():
        raise KitError(
            f"{path} is for a participant of kind {info.kind!r}; known here are {', '.join(known_kinds())}. Install the"
            " package that adds it"
        )
    return info


def _check_signature(startup: Path, content: dict[str, bytes]) -> None:
    try:
        signed = json.loads(content[SIGNATURE])
        digests, signature = signed["sha256"], base64.b64decode(signed["signature"])
        key = x509.load_pem_x509_certificate(content[AUTHORITY]).public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(digests, dict):
            raise TypeError("the authority's key or the digests are of another kind")
        key.verify(signature, _signed_text(digests), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise KitError(
            f"{startup / SIGNATURE} or {startup / AUTHORITY} was changed since the kit was made, or they are of two"
            " projects; get a new kit"
        ) from None
    except (ValueError, KeyError, TypeError, RecursionError, UnsupportedAlgorithm) as error:
        raise KitError(
            f"{startup / SIGNATURE} or {startup / AUTHORITY} cannot be read ({error}); get a new kit"
        ) from error
    for name in SIGNED:
        if digests.get(name) != hashlib.sha256(content[name]).hexdigest():
            raise KitError(f"{startup / name} was changed since the kit was made; get a new kit, or put it back")


def _signed_text(digests: dict[str, str]) -> bytes:
    return json.dumps(digests, sort_keys=True, separators=(",", ":")).encode()

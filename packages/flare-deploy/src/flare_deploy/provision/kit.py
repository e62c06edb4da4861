"""Start-up kits: the files with which a server, a site, a relay or an administrator takes part in a project.

<kit>/startup/kit.json         the participant, and the address of the server
<kit>/startup/certificate.pem  its certificate
<kit>/startup/private.key      its key, on the curve P-256; never leaves the machine if that has joined with a token
<kit>/startup/authority.pem    the certificate of the project's authority, the only one that is trusted
<kit>/startup/signature.json   digests of the other files except the key, signed by the authority
<kit>/local/                   settings that the machine's owner may change
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
from flare_core.files import replacing
from flare_core.job import check_name
from flare_deploy.participants import known_kinds
from flare_transport import Credentials
from flare_transport.certificates import Authority, check_credentials, verified_key

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
    """A start-up kit or an invitation is incomplete, was changed, has expired, or belongs to another project."""


def check_participant(name: str, *, what: str = "a participant's name") -> None:
    """Check a participant's name, which is also the name of a folder, and may contain ``@``.

    Raises:
        JobError: names the value and the rule.
    """
    check_name(name.replace("@", "-"), what=what)


@dataclass(frozen=True, slots=True)
class KitInfo:
    """The content of kit.json.

    Attributes:
        name: the name of the participant; ``server`` for the server.
        kind: ``server``, ``admin``, or one of :mod:`flare_deploy.participants`, such as ``client`` or ``relay``.
        project: the project's name.
        address: the address to connect to, ``grpc://host:port``: the server's or a relay's.
        server: the server's name.
        role: the role of an administrator.
        org: the participant's organization.
        via: the name of the relay at ``address``; empty if it is the server's.
        listen: the address at which sites reach a relay, or another kind that forwards.
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
        """The name of the cell at ``address``."""
        return self.via or self.server

    @classmethod
    def of(cls, values: Any) -> KitInfo:
        """Return the description that ``values`` holds, which come from a file or another machine.

        Raises:
            ValueError: a value is missing, unknown or not a string, or no package here adds that kind.
        """
        try:
            info = cls(**values)
        except TypeError as error:
            raise ValueError(str(error)) from error
        if not all(type(value) is str for value in asdict(info).values()):
            raise ValueError("it has values that are not strings")
        if info.kind not in known_kinds():
            raise ValueError(
                f"it is for a participant of kind {info.kind!r}; known here are {', '.join(known_kinds())}. Install the"
                " package that adds it"
            )
        return info

    def to_json(self) -> bytes:
        """Return the content of kit.json."""
        return (json.dumps({"format": 1, **asdict(self)}, indent=2) + "\n").encode()


@dataclass(frozen=True, slots=True)
class Kit:
    """A kit whose files were checked.

    Attributes:
        folder: its folder.
        info: the participant it is for.
        credentials: the participant's.
        expires: when the certificate expires.
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
            kind: the kind of participant that is needed; None for any.
        Raises:
            KitError: it cannot be used; names the file and the reason.
        """
        folder = Path(folder).expanduser().absolute()
        if folder.name == "startup":
            folder = folder.parent
        content = {name: _read(folder / "startup" / name) for name in (*SIGNED, KEY, SIGNATURE)}
        _check_signature(folder / "startup", content)
        info = _info(folder / "startup" / KIT, content[KIT])
        if kind is not None and info.kind != kind:
            raise KitError(f"{folder} is the kit of the {info.kind} {info.name}; a kit of kind '{kind}' is needed")
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
        """For how many days the certificate is still valid."""
        return (self.expires - datetime.now(UTC)).total_seconds() / 86400

    @property
    def warning(self) -> str | None:
        """A warning if the certificate expires soon, else None."""
        if self.days_left > WARN_DAYS:
            return None
        return (
            f"the certificate of {self.info.name} expires on {self.expires:%Y-%m-%d}, in {self.days_left:.0f} days;"
            " renew it with 'flare renew'"
        )


def kit_info(folder: Path) -> KitInfo:
    """Read which participant a kit is for, even if its certificate has expired.

    Raises:
        KitError: the kit is incomplete, or was changed.
    """
    content = {name: _read(folder / "startup" / name) for name in (*SIGNED, SIGNATURE)}
    _check_signature(folder / "startup", content)
    return _info(folder / "startup" / KIT, content[KIT])


def write_kit(
    folder: Path, info: KitInfo, credentials: Credentials, signature: bytes, *, replace: bool = False
) -> Path:
    """Write a kit; only the owner of the folder can read the key.

    Args:
        folder: the kit's folder, created if needed.
        info: the content of kit.json.
        credentials: the participant's.
        signature: the content of signature.json.
        replace: replace the files of a kit that is there.
    Raises:
        KitError: there is a kit already, and ``replace`` is False.
    """
    startup = folder / "startup"
    if (startup / KIT).exists() and not replace:
        raise KitError(f"{folder} has a kit already; choose another folder, or remove it")
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
        with replacing(startup / name) as partial:
            partial.write_bytes(content)
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
    """Return the SHA-256 of a certificate in PEM, in hexadecimal."""
    return x509.load_pem_x509_certificate(certificate).fingerprint(hashes.SHA256()).hex()


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, atomically."""
    with (
        replacing(path) as partial,
        open(partial, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file,
    ):
        file.write(content)


def check_time(certificate: bytes, what: str) -> datetime:
    """Return when a certificate expires.

    Args:
        certificate: in PEM.
        what: the subject of the error message.
    Raises:
        KitError: by this machine's clock, it has expired or is not valid yet.
    """
    try:
        loaded = x509.load_pem_x509_certificate(certificate)
    except ValueError as error:
        raise KitError(f"{what} is not a certificate in PEM ({error})") from error
    now = datetime.now(UTC)
    if now > loaded.not_valid_after_utc:
        raise KitError(f"{what} expired on {loaded.not_valid_after_utc:%Y-%m-%d %H:%M} UTC; ask for a new invitation")
    if now < loaded.not_valid_before_utc:
        raise KitError(
            f"{what} is not yet valid: it begins on {loaded.not_valid_before_utc:%Y-%m-%d %H:%M} UTC, and the clock"
            f" here says {now:%Y-%m-%d %H:%M} UTC; set the clock"
        )
    return loaded.not_valid_after_utc


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise KitError(f"{path}: {error.strerror}; is {path.parent.parent} a start-up kit?") from error
    if len(content) > MAX_FILE_BYTES:
        raise KitError(f"{path} has more than {MAX_FILE_BYTES} bytes, which no file of a kit has; get a new kit")
    return content


def _info(path: Path, content: bytes) -> KitInfo:
    try:
        values: dict[str, Any] = json.loads(content)
        values.pop("format")
        return KitInfo.of(values)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise KitError(f"{path} cannot be read ({error}); get a new kit") from error


def _check_signature(startup: Path, content: dict[str, bytes]) -> None:
    try:
        signed = json.loads(content[SIGNATURE])
        digests, signature = signed["sha256"], base64.b64decode(signed["signature"])
        key = x509.load_pem_x509_certificate(content[AUTHORITY]).public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(digests, dict):
            raise TypeError("the authority's key or the digests are of another type")
        key.verify(signature, _signed_text(digests), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise KitError(
            f"{startup / SIGNATURE} or {startup / AUTHORITY} was changed since the kit was made, or they belong to"
            " two projects; get a new kit"
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

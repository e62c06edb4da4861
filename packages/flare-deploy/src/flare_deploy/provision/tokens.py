"""Invitation tokens: with one, a machine can have a key of its own certified, once.

A token contains the certificate of the project's authority, the server's address, and credentials of a guest, which are
valid for a short time and for one request: to certify the key of the invited participant.
"""

from __future__ import annotations

import base64
import json
import secrets
import zlib
from dataclasses import dataclass
from typing import Any

from flare_core import JobError
from flare_deploy.participants import known_kinds
from flare_deploy.provision.kit import KitError, check_participant
from flare_transport import Credentials
from flare_transport.certificates import Authority, issue

__all__ = ["ENROLL", "Invitation", "make_invitation"]

ENROLL = "enroll@"
PREFIX = "flare1-"
MAX_BYTES = 1 << 16  # of a token, packed and unpacked; a valid one has about 2,000
_TEXTS = ("name", "kind", "project", "address", "server", "via", "guest")


@dataclass(frozen=True, slots=True)
class Invitation:
    """The content of a token.

    Attributes:
        name: the invited participant.
        kind: ``admin``, or one of :mod:`flare_deploy.participants`, such as ``client`` or ``relay``.
        project: the project's name.
        address: the address to connect to: the server's or a relay's.
        server: the server's name.
        via: the name of the relay at ``address``; empty if it is the server's.
        guest: the name under which the participant connects until its key is certified.
        credentials: the guest's.
    """

    name: str
    kind: str
    project: str
    address: str
    server: str
    via: str
    guest: str
    credentials: Credentials

    def token(self) -> str:
        """Return the invitation as text."""
        parts = self.credentials.certificate, self.credentials.private_key, self.credentials.authority
        values: dict[str, Any] = {name: getattr(self, name) for name in _TEXTS}
        values["credentials"] = [_body(each) for each in parts]
        packed = zlib.compress(json.dumps(values, separators=(",", ":")).encode(), 9)
        return PREFIX + base64.urlsafe_b64encode(packed).decode().rstrip("=")

    @classmethod
    def read(cls, token: str) -> Invitation:
        """Read a token; spaces and line breaks, which mail programs may add, are ignored.

        Raises:
            KitError: it is not a token, or is damaged.
        """
        text = "".join(token.split())
        if not text.startswith(PREFIX):
            raise KitError(f"this is not an invitation: it begins with {text[:10]!r} instead of {PREFIX!r}")
        text = text.removeprefix(PREFIX)
        try:
            values = _unpacked(text)
            certificate, key, authority = values.pop("credentials")
            credentials = Credentials(
                _pem(certificate, "CERTIFICATE"), _pem(key, "PRIVATE KEY"), _pem(authority, "CERTIFICATE")
            )
            _check(values)
            return cls(**values, credentials=credentials)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, zlib.error) as error:
            raise KitError(f"the invitation is damaged or incomplete ({error}); copy all of it") from error


def make_invitation(
    authority: Authority, *, name: str, kind: str, project: str, address: str, server: str, via: str, valid_days: int
) -> Invitation:
    """Make an invitation. The guest's name begins with that of its relay, which may then speak for it."""
    guest = (f"{via}." if via else "") + ENROLL + secrets.token_hex(8)
    credentials = issue(authority, guest, valid_days=valid_days)
    return Invitation(name, kind, project, address, server, via, guest, credentials)


def _unpacked(text: str) -> dict[str, Any]:
    unpacker = zlib.decompressobj()
    if len(text) > MAX_BYTES:
        raise ValueError(f"it has {len(text)} characters")
    content = unpacker.decompress(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), MAX_BYTES)
    if not unpacker.eof:
        raise ValueError("it is truncated, or larger than an invitation can be")
    values: dict[str, Any] = json.loads(content)
    return values


def _check(values: dict[str, Any]) -> None:
    """Check the types of all values, and the participant's name, which becomes the name of a folder."""
    if not all(type(values[key]) is str for key in _TEXTS):
        raise ValueError(f"{', '.join(_TEXTS)} must be strings")
    if values["kind"] not in known_kinds():
        raise ValueError(f"it is for a {values['kind']!r}; known here are {', '.join(known_kinds())}")
    try:
        check_participant(values["name"], what="the invited participant's name")
    except JobError as error:
        raise ValueError(str(error)) from error


def _body(pem: bytes) -> str:
    return "".join(line for line in pem.decode().splitlines() if not line.startswith("-----"))


def _pem(body: str, label: str) -> bytes:
    lines = [body[start : start + 64] for start in range(0, len(body), 64)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""]).encode()

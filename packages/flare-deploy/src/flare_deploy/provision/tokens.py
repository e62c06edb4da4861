"""Invitation tokens: with one, a machine can have a key of its own certified, once.

A token contains the certificate of the project's authority, the server's address, and credentials of a guest, which are
valid for a short time and for one request: to certify the key of the invited participant.
"""

from __future__ import annotations

import base64
import json
import secrets
import zlib
from dataclasses import asdict, dataclass
from typing import Any

from flare_core import JobError
from flare_deploy.provision.kit import KitError, KitInfo, check_participant
from flare_transport import Credentials
from flare_transport.certificates import Authority, issue

ENROLL = "enroll@"
PREFIX = "flare1-"
MAX_BYTES = 1 << 16  # of a token, packed and unpacked; a valid one has about 1,700


@dataclass(frozen=True, slots=True)
class Invitation:
    """The content of a token.

    Attributes:
        info: the invited participant, and the address to connect to.
        guest: the name under which the participant connects until its key is certified.
        credentials: the guest's.
    """

    info: KitInfo
    guest: str
    credentials: Credentials

    def token(self) -> str:
        """Return the invitation as text."""
        parts = self.credentials.certificate, self.credentials.private_key, self.credentials.authority
        values = {**asdict(self.info), "guest": self.guest, "credentials": [each.decode() for each in parts]}
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
            certificate, key, authority = (each.encode() for each in values.pop("credentials"))
            guest = values.pop("guest")
            info = KitInfo.of(values)
            check_participant(info.name, what="the invited participant's name")  # it becomes the name of a folder
            return cls(info, guest, Credentials(certificate, key, authority))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, zlib.error, JobError) as error:
            raise KitError(f"the invitation is damaged or incomplete ({error}); copy all of it") from error


def make_invitation(authority: Authority, info: KitInfo, *, valid_days: int) -> Invitation:
    """Make an invitation. The guest's name begins with that of its relay, which may then speak for it."""
    guest = (f"{info.via}." if info.via else "") + ENROLL + secrets.token_hex(8)
    return Invitation(info, guest, issue(authority, guest, valid_days=valid_days))


def _unpacked(text: str) -> dict[str, Any]:
    unpacker = zlib.decompressobj()
    if len(text) > MAX_BYTES:
        raise ValueError(f"it has {len(text)} characters")
    content = unpacker.decompress(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), MAX_BYTES)
    if not unpacker.eof:
        raise ValueError("it is truncated, or larger than an invitation can be")
    values: dict[str, Any] = json.loads(content)
    if type(values["guest"]) is not str:
        raise ValueError("its guest is not a string")
    return values

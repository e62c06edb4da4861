"""Messages and random numbers that two sites share, and that the server which passes them on cannot read.

Each site makes an X25519 key pair for each session. The server passes the public keys on.

    secret  = X25519(own private key, the other's public key)
    pair    = HKDF-SHA256(secret, info = "flare-xgb vertical 1", session, both names and public keys, sorted by name)
    key     = HKDF-Expand-SHA256(pair, info = "messages")
    message = nonce (12 random bytes), AES-256-GCM(key, nonce, flare_fobs data, associated data = sender, step)
    stream  = AES-256-CTR(HKDF-Expand-SHA256(pair, info = label), counter 0), as little-endian unsigned 64-bit integers

``step`` is the number of the question that a message is or answers, so that an answer cannot be taken for another's.

The server is trusted to pass on the true keys: one that replaced them could read all messages.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
from numpy.typing import NDArray

from flare_core import SiteError
from flare_fobs import dumps, loads

Bytes = NDArray[np.uint8]
"""A sealed message; an array, so that it travels like one."""

KEY_BYTES = 32
_NONCE_BYTES = 12


def sealed(key: bytes, data: Any, context: bytes) -> Bytes:
    """Return data as a message that only the key opens.

    Args:
        key: 32 bytes.
        data: anything that :mod:`flare_fobs` serializes.
        context: must be given again to open it.
    """
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return np.frombuffer(nonce + AESGCM(key).encrypt(nonce, dumps(data), context), np.uint8)


def opened(key: bytes, message: Bytes, context: bytes) -> Any:
    """Return the data of a message.

    Raises:
        InvalidTag: it was sealed with another key or context, or was changed.
    """
    given = np.ascontiguousarray(message, np.uint8).tobytes()
    if len(given) < _NONCE_BYTES:
        raise InvalidTag
    return loads(AESGCM(key).decrypt(given[:_NONCE_BYTES], given[_NONCE_BYTES:], context))


def stream(key: bytes, count: int) -> NDArray[np.uint64]:
    """Return uniform integers that the key determines, (count,). Use a key for one stream only."""
    cipher = Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor()
    return np.frombuffer(cipher.update(bytes(8 * count)), "<u8")


class Channel:
    """The secret that one site shares with another.

    Args:
        own: the name of this site.
        other: the name of the other.
        pair: the secret of both.
    """

    def __init__(self, own: str, other: str, pair: bytes) -> None:
        self.own = own
        self.other = other
        self._pair = pair
        self._key = self.key(b"messages")

    def key(self, label: bytes) -> bytes:
        """Return a key that both sites know, another one for each label."""
        return HKDFExpand(SHA256(), KEY_BYTES, label).derive(self._pair)

    def seal(self, step: int, data: Any) -> Bytes:
        """Return a message to the other site."""
        return sealed(self._key, data, _context(self.own, step))

    def open(self, step: int, message: Bytes) -> Any:
        """Return the data of the other site's message.

        Raises:
            SiteError: the message is not the other's, or of another step; names the other site.
        """
        try:
            return opened(self._key, message, _context(self.other, step))
        except InvalidTag:
            raise SiteError(
                f"{self.own}: a message of {self.other} cannot be opened; it was changed on its way, or is of another"
                " step",
                site=self.other,
            ) from None


class SiteKeys:
    """The key pair of a site.

    Args:
        site: its name.
    Attributes:
        public_key: 32 bytes, to give to the others.
    """

    def __init__(self, site: str) -> None:
        self._site = site
        self._private = X25519PrivateKey.generate()
        self.public_key = self._private.public_key().public_bytes_raw()

    def channel(self, other: str, public_key: bytes, session: bytes) -> Channel:
        """Return the channel to another site.

        Args:
            other: its name.
            public_key: its public key.
            session: separates uses of the same keys.
        Raises:
            SiteError: the key is unusable; names the other site.
        """
        try:
            secret = self._private.exchange(X25519PublicKey.from_public_bytes(bytes(public_key)))
        except ValueError as error:
            raise SiteError(f"{self._site}: the public key of {other} is unusable: {error}", site=other) from error
        parts = [b"flare-xgb vertical 1", session]
        for name, key in sorted([(self._site, self.public_key), (other, bytes(public_key))]):
            parts += [name.encode(), key]
        info = hashlib.sha256(b"".join(len(part).to_bytes(4, "little") + part for part in parts)).digest()
        return Channel(self._site, other, HKDF(SHA256(), KEY_BYTES, salt=None, info=info).derive(secret))


def _context(sender: str, step: int) -> bytes:
    return step.to_bytes(8, "little") + sender.encode()

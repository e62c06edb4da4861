"""Pairwise masks over the integers modulo 2**64.

Each two parties agree on a secret that the server cannot compute from the public keys it passes on. For each message,
they derive a stream of uniform 64-bit integers from it; the one whose name sorts first adds the stream to its numbers,
the other subtracts it. A single party's masked numbers are uniform and independent of its data; in the sum over all
parties every stream cancels, and the total is exact: integers have no rounding.

    secret   = X25519(own private key, the other's public key)
    pair     = HKDF-SHA256(secret, info = "flare masking 1", session, all names and public keys)
    key      = HKDF-Expand-SHA256(pair, info = "message", number of the message as 8 bytes, little-endian)
    stream   = AES-256-CTR(key, counter 0), as little-endian unsigned 64-bit integers

A stream must hide one message only: two messages under one stream would reveal their difference. So each party
counts its messages, and agrees on secrets once with each key pair. If parties are no longer in step, because one was
started again or a message was lost, all of them begin anew with fresh key pairs.

Security: against a server that follows the protocol but looks at what it gets (honest but curious), also together with
all but two of the parties. A server that replaces public keys by its own could read all numbers.

Source: Bonawitz et al. 2017, "Practical Secure Aggregation for Privacy-Preserving Machine Learning", section 4, without
the recovery of a lost party's masks by secret sharing: if a party is lost, the sum is asked for again without it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
from numpy.typing import NDArray

from flare_core import FlareError

KEY_BYTES = 32
_BLOCK_BYTES = 1 << 20  # of a stream at once: it stays in the cache


class MaskingError(FlareError):
    """Parties cannot mask: too few of them, or a public key is unusable; names the party."""


class MaskedParty:
    """One party's side of sums with the same parties: its key pair, and the secrets that it shares with the others.

    Args:
        name: the party's name.
    Attributes:
        public_key: 32 bytes to give to the others.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._private = X25519PrivateKey.generate()
        self.public_key = self._private.public_key().public_bytes_raw()
        self._pairs: dict[str, bytes] = {}
        self._messages = 0

    def agree(self, public_keys: Mapping[str, bytes], session: bytes) -> None:
        """Derive the secrets that are shared with the other parties; for once only.

        Args:
            public_keys: of all parties, this one included, by name.
            session: what the sums are for, such as the id of a run; the same at all parties.
        Raises:
            MaskingError: there is no other party, this one's own key is another, a key is not one, or the party has
                agreed before.
        """
        if self._pairs:
            raise MaskingError(f"{self.name}: it has agreed before, and would use streams twice; make another party")
        if len(public_keys) < 2:
            raise MaskingError(f"{self.name}: a sum over fewer than two parties would reveal the party's own numbers")
        if public_keys.get(self.name) != self.public_key:
            raise MaskingError(f"{self.name}: its own public key is not the one among those of all parties")
        info = _length_prefixed([b"flare masking 1", session, *_names_and_keys(public_keys)])
        self._pairs = {name: self._pair(name, key, info) for name, key in public_keys.items() if name != self.name}

    def _pair(self, name: str, key: bytes, info: bytes) -> bytes:
        try:
            secret = self._private.exchange(X25519PublicKey.from_public_bytes(bytes(key)))
        except ValueError as error:
            raise MaskingError(f"{self.name}: the public key of {name} is unusable: {error}") from error
        return HKDF(SHA256(), KEY_BYTES, salt=None, info=hashlib.sha256(info).digest()).derive(secret)

    def mask(self, numbers: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Return numbers with the masks of the next message added, modulo 2**64; they can be sent.

        Args:
            numbers: int64, of any shape; they are not changed. All parties give arrays of the same shapes in the same
                order.
        Raises:
            MaskingError: the party has not agreed with others.
        """
        if not self._pairs:
            raise MaskingError(f"{self.name}: there are no parties to mask with; call agree first")
        info = b"message" + self._messages.to_bytes(8, "little")
        self._messages += 1
        masked = np.array(numbers, np.int64, order="C").view(np.uint64)
        flat = masked.reshape(-1)
        for name, pair in self._pairs.items():
            _add_stream(flat, HKDFExpand(SHA256(), KEY_BYTES, info).derive(pair), self.name < name)
        return masked


def add_masked(total: NDArray[np.int64], part: NDArray[np.uint64]) -> None:
    """Add a party's masked numbers to a total, in place; it means something when those of all parties were added.

    Args:
        total: int64; zeros at first.
        part: of the same shape.
    Raises:
        MaskingError: the shapes differ.
    """
    if total.shape != part.shape:
        raise MaskingError(f"masked numbers have shape {part.shape}, but those before have {total.shape}")
    total += part.view(np.int64)  # modulo 2**64, as masks are


def _add_stream(flat: NDArray[np.uint64], key: bytes, is_added: bool) -> None:
    """Add or subtract a key's stream, in place."""
    cipher = Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor()
    size = min(flat.nbytes, _BLOCK_BYTES)
    zeros, block = bytes(size), bytearray(size)
    stream = np.frombuffer(block, "<u8")
    step = size // 8
    for start in range(0, len(flat), step or 1):
        piece = flat[start : start + step]
        cipher.update_into(zeros[: piece.nbytes], block)
        if is_added:
            piece += stream[: len(piece)]
        else:
            piece -= stream[: len(piece)]


def _names_and_keys(public_keys: Mapping[str, bytes]) -> Iterable[bytes]:
    for name in sorted(public_keys):
        yield name.encode()
        yield bytes(public_keys[name])


def _length_prefixed(parts: Iterable[bytes]) -> bytes:
    """Join byte strings so that different lists give different results."""
    return b"".join(len(part).to_bytes(4, "little") + part for part in parts)

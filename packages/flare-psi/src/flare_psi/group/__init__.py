"""The group of the protocol: secp256k1, with RFC 9380's hash to the curve."""

from flare_psi.group.hashing import hash_to_curve
from flare_psi.group.points import (
    COMPRESSED_BYTES,
    MalformedPointError,
    multiply,
    new_secret,
)

__all__ = ["COMPRESSED_BYTES", "MalformedPointError", "hash_to_curve", "multiply", "new_secret"]

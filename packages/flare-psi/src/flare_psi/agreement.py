"""Agreement: what all parties of an intersection must have agreed on before it begins.

Its text is the head of the run's transcript. A digest of the text is part of the tag with which ids are hashed to the
curve, so sites that follow other rules find nothing in common, and points of one run mean nothing in another.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

SUITE = "secp256k1_XMD:SHA-256_SSWU_RO_"
DIGEST_BYTES = 16
"""Of a fully blinded point, as the server compares them."""


@dataclass(frozen=True)
class Agreement:
    """The terms of a run.

    Args:
        job: the run's id.
        sites: all sites, in the order in which blinded ids pass from one to the next.
        result: ``ids`` or ``cardinality``.
        receivers: the sites that learn the result.
        parts: number of parts of a key.
        normalisation: the rules for each part, as text.
        is_salted: keys are hashed with a salt of the sites first.
        pad_to: numbers of keys are multiples of this; None if they are not padded.
        protocol: the protocol's name and version.
        suite: of RFC 9380.
    """

    job: str
    sites: tuple[str, ...]
    result: str
    receivers: tuple[str, ...]
    parts: int
    normalisation: tuple[str, ...]
    is_salted: bool
    pad_to: int | None
    protocol: str = "flare-psi/1"
    suite: str = SUITE

    @property
    def text(self) -> str:
        """The terms as JSON: names sorted, no white space, ASCII."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @property
    def digest(self) -> str:
        """SHA-256 of the text, as hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def tag(self) -> bytes:
        """The domain separation tag of the hash to the curve."""
        return f"FLARE-PSI-V01-CS01-with-{self.suite}{self.digest[:32]}".encode()

    def after(self, site: str, steps: int = 1) -> str:
        """Return the site to which the ids of ``site`` have come after so many steps."""
        return self.sites[(self.sites.index(site) + steps) % len(self.sites)]


def compared_digests(points: Sequence[bytes]) -> bytes:
    """Return the digests of fully blinded points, one after the other: the first 16 bytes of SHA-256 of each."""
    sha256 = hashlib.sha256
    return b"".join([sha256(point).digest()[:DIGEST_BYTES] for point in points])

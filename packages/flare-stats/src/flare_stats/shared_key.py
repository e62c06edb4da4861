"""A key that the sites of a run share and the server does not know: with it, values are hashed to count distinct ones.

One site draws the key and hides it from the server under a mask that it shares with each other site:

    stats.key     {}                                   -> {"key"}: the site's public key, of a new pair
    stats.deal    {"keys": {site: key}, "session"}     -> {"sealed": {site: {"key", "numbers"}}}, by one site
    stats.unseal  {"dealer", "key", "numbers", "session"}
                                                       -> {}, by each of the others

A mask is a one-time pad, from an agreement of two parties alone (see :mod:`flare_masking.masks`). A server that
replaces public keys by its own could read the key.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flare_core.files import replacing
from flare_masking import MaskedParty
from flare_stats.asking import Sites

_FILE = "distinct.key"
_WORDS = 4  # of 64 bits


class SharedKey:
    """A site's side.

    Args:
        site: its name.
        folder: where it keeps the key.
    """

    def __init__(self, site: str, folder: Path) -> None:
        self._site = site
        self._path = folder / _FILE
        self._party: MaskedParty | None = None

    @property
    def value(self) -> bytes:
        """The key, 32 bytes; empty if the site has none."""
        return self._path.read_bytes() if self._path.exists() else b""

    def offer(self) -> dict[str, Any]:
        """Return the public key of a new pair."""
        self._party = MaskedParty(self._site)
        return {"key": self._party.public_key}

    def deal(self, keys: Mapping[str, bytes], session: bytes) -> dict[str, Any]:
        """Return the key, which is drawn if the site has none, under a mask for each other site.

        Args:
            keys: public keys of the others, by site.
            session: the same at all sites.
        """
        self._keep(self.value or secrets.token_bytes(8 * _WORDS))
        numbers = np.frombuffer(self.value, np.int64)
        sealed = {}
        for site, key in keys.items():
            party = MaskedParty(self._site)
            party.agree({self._site: party.public_key, site: key}, session)
            sealed[site] = {"key": party.public_key, "numbers": party.mask(numbers)}
        return {"sealed": sealed}

    def unseal(self, dealer: str, key: bytes, numbers: NDArray[np.uint64], session: bytes) -> dict[str, Any]:
        """Take the key that another site has drawn.

        Args:
            dealer: the other site.
            key: its public key for this one.
            numbers: the key under the mask.
            session: the same at all sites.
        """
        if self._party is not None:  # else the site was started again, and goes on without a key
            self._party.agree({self._site: self._party.public_key, dealer: key}, session)
            mask = self._party.mask(np.zeros(_WORDS, np.int64))
            self._keep((np.asarray(numbers, np.uint64) + mask).tobytes())
        return {}

    def forget(self) -> None:
        """Delete the key."""
        self._path.unlink(missing_ok=True)

    def _keep(self, value: bytes) -> None:
        with replacing(self._path) as partial:
            partial.touch(0o600)
            partial.write_bytes(value)


def share_key(sites: Sites, members: Sequence[str], session: bytes) -> None:
    """Let sites share a key; those that leave meanwhile do not have it.

    Args:
        sites: asks them.
        members: their names.
        session: the same at all sites.
    """
    keys = {site: data["key"] for site, data in sites.ask("stats.key", {site: {} for site in members}).items()}
    left = list(keys)
    while left:
        dealer, *left = left
        task = {"keys": {site: keys[site] for site in left}, "session": session}
        dealt = sites.ask("stats.deal", {dealer: task}, quorum=0)
        if dealer in dealt:
            tasks = {site: {"dealer": dealer, "session": session, **of} for site, of in dealt[dealer]["sealed"].items()}
            sites.ask("stats.unseal", tasks, quorum=0)
            return

"""The server's comparison: which fully blinded ids all sites have."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from flare_core import SiteError
from flare_psi.agreement import DIGEST_BYTES


def match(digests: Mapping[str, NDArray[np.uint8]]) -> dict[str, NDArray[np.int64]]:
    """Find what all sites have in common.

    Args:
        digests: by site, uint8 [n, 16], those of its ids.
    Returns:
        by site, int64 [m]: the places of the common ones among its own, ordered by digest, so that all sites' m-th
        place stands for the same id.
    Raises:
        SiteError: a site has a digest twice, though its ids are distinct; names the site.
    """
    names = {site: _sorted(site, each) for site, each in digests.items()}
    common = None
    for values, _ in names.values():
        common = values if common is None else np.intersect1d(common, values, assume_unique=True)
    assert common is not None
    return {site: order[np.searchsorted(values, common)] for site, (values, order) in names.items()}


def _sorted(site: str, digests: NDArray[np.uint8]) -> tuple[NDArray[np.bytes_], NDArray[np.int64]]:
    """Return digests as sorted byte strings, and the place of each.

    NumPy's byte strings end before trailing zeros, which two strings of one length differ by as little as before.
    """
    values = np.ascontiguousarray(digests).view(f"S{DIGEST_BYTES}").ravel()
    order = np.argsort(values, kind="stable").astype(np.int64)
    ordered = values[order]
    if (ordered[1:] == ordered[:-1]).any():
        raise SiteError(f"{site}: has an id twice among its distinct ids; all sites need the same version", site=site)
    return ordered, order

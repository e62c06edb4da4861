"""Agreement of all sites on the kinds of features and on the edges of histograms."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from flare_stats.config import GROUPS, NUMERIC
from flare_stats.errors import StatsError


def edges_of(low: float, high: float, bins: int) -> list[float]:
    """Return the edges of bins of equal width, as NumPy's histogram has them; a single value lies in the middle.

    Raises:
        StatsError: the range is too wide for float64, or too narrow for so many bins.
    """
    if low == high:
        low, high = low - 0.5, high + 0.5
    if not math.isfinite(high - low):
        raise StatsError(f"the range from {low:g} to {high:g} is too wide for bins")
    edges = np.linspace(low, high, bins + 1)
    if not (np.diff(edges) > 0).all():
        raise StatsError(f"the range from {low!r} to {high!r} is too narrow for {bins} bins")
    return [float(edge) for edge in edges]


def agreed_kinds(descriptions: Mapping[str, Mapping[str, Iterable[Sequence[str]]]]) -> tuple[dict[str, str], list[str]]:
    """Return the kind of each feature at most sites, and warnings about sites where it is another one.

    Args:
        descriptions: by site and data set, names and kinds of features.
    """
    seen: dict[str, dict[str, list[str]]] = {}
    for site, datasets in descriptions.items():
        for columns in datasets.values():
            for feature, kind in columns:
                sites = seen.setdefault(feature, {}).setdefault(kind, [])
                if site not in sites:
                    sites.append(site)
    kinds, warnings = {}, []
    for feature, found in seen.items():
        known = {kind: sites for kind, sites in found.items() if kind != "empty"} or found
        families: dict[str, list[str]] = {}
        for kind in known:
            families.setdefault(_family(kind), []).append(kind)
        chosen = max(
            families, key=lambda family: (sum(len(known[kind]) for kind in families[family]), family == "float")
        )
        kinds[feature] = families[chosen][0] if len(families[chosen]) == 1 else chosen
        if len(families) > 1:
            others = [f"{kind} at {', '.join(sites)}" for kind, sites in known.items() if _family(kind) != chosen]
            warnings.append(f"{feature} is read as {kinds[feature]}, but is {' and '.join(others)}")
    return kinds, warnings


def _family(kind: str) -> str:
    """Return the kind that includes all values of some kinds."""
    if kind in NUMERIC and kind != "empty":
        return "float"
    return "category" if kind in GROUPS and kind != "empty" else kind

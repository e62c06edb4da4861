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
        found.pop("empty", None) if len(found) > 1 else None
        numeric = [kind for kind in found if kind in NUMERIC]
        groups = [kind for kind in found if kind in GROUPS and kind != "bool"]
        if len(numeric) == len(found):
            kinds[feature] = numeric[0] if len(numeric) == 1 else "float"
        elif len(groups) == len(found):
            kinds[feature] = groups[0] if len(groups) == 1 else "category"
        else:
            kinds[feature] = max(found, key=lambda kind: (len(found[kind]), kind in NUMERIC))
            others = [f"{kind} at {', '.join(sites)}" for kind, sites in found.items() if kind != kinds[feature]]
            warnings.append(f"{feature} is read as {kinds[feature]}, but is {' and '.join(others)}")
    return kinds, warnings

"""A site's side of masked totals."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flare_masking import MaskedParty
from flare_stats.config import Settings
from flare_stats.masked.layout import Thresholds, in_order, parts_of
from flare_stats.site import REASONS

Values = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Statistics by data set and feature."""


class MaskedSite:
    """The keys of a site, and what it adds to totals under masks.

    Args:
        name: of the site.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._party: MaskedParty | None = None
        self._epoch: int | None = None

    def key(self) -> dict[str, Any]:
        """Return the public key of a new pair."""
        self._party, self._epoch = MaskedParty(self.name), None
        return {"key": self._party.public_key}

    def agree(self, keys: Mapping[str, bytes], session: bytes, epoch: int) -> dict[str, Any]:
        """Take the public keys of all sites; a site that was started again since it gave its own is found behind.

        Args:
            keys: by site.
            session: the same at all sites.
            epoch: the number of this agreement.
        """
        if self._party is not None and keys.get(self.name) == self._party.public_key:
            self._party.agree(keys, session)
            self._epoch = epoch
        return {}

    def masked(self, epoch: int, numbers: Callable[[], NDArray[np.int64]]) -> dict[str, Any]:
        """Return numbers under the masks of an agreement, or that the site is behind."""
        if self._party is None or self._epoch != epoch:
            return {"is_behind": True}
        return {"numbers": self._party.mask(numbers())}


def offer(settings: Settings, kinds: Mapping[str, str], summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts that a site adds to totals, and what its rules refuse.

    A site without values offers all parts, and adds zeros: nobody learns that it has none.

    Args:
        settings: what is computed.
        kinds: of the features.
        summary: the site's answer without masks.
    """
    made: dict[str, dict[str, list[str]]] = {}
    errors = [0.0]
    for dataset, features in summary["datasets"].items():
        for feature, values in features.items():
            if "count" in values:
                parts = parts_of(settings, feature, kinds[feature])
                made.setdefault(dataset, {})[feature] = [part for part in parts if _has(part, values)]
            errors.append(values.get("quantile", {}).get("error", 0.0))
    refused = [row for row in summary["refused"] if row[3] not in REASONS]
    matrices = {dataset: list(values["features"]) for dataset, values in summary["matrices"].items()}
    error = max(errors)
    rounded = 2.0 ** math.ceil(math.log2(error)) if error else 0.0  # the error itself would tell the number of values
    return {"offered": made, "matrices": matrices, "refused": refused, "rank_error": rounded}


def _has(part: str, values: Mapping[str, Any]) -> bool:
    """Return True if a site has the numbers of a part; it has zeros if it has no values."""
    count = values["count"]
    match part:
        case "sum":
            return not count or "mean" in values or "sum" in values
        case "squares":
            return count < 2 or "var" in values
        case "range":
            return not count or {"min", "max"} <= values.keys()
        case "histogram":
            return not count or "histogram" in values or {"min", "max"} <= values.keys()
        case "categories":
            return not count or "categories" in values
        case "ranks":
            return not count or "count" in values.get("quantile", {})
    return part in values


def extremes(values: Values, asked: Thresholds) -> NDArray[np.int64]:
    """Return, for each threshold in order, 1 if the site's minimum, or its negated maximum, is at most that; else 0.

    Args:
        values: the site's statistics by data set and feature.
        asked: thresholds by ``min`` or ``max``, data set and feature.
    """
    pieces = [np.zeros(0, np.int64)]
    for end, dataset, feature, thresholds in in_order(asked):
        own = values.get(dataset, {}).get(feature, {}).get(end)
        # As a float like the thresholds: NumPy 1 compares an integer beyond 64 bits digit by digit.
        number = np.inf if own is None else float(own if end == "min" else -own)
        pieces.append(((number <= thresholds) & (number < np.inf)).astype(np.int64))
    return np.concatenate(pieces)

"""Checks of what the sites answer: a site may be broken, or hostile, and must not spoil the statistics of others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flare_core import SiteError
from flare_stats.config import KINDS

_NUMBERS = {"count", "missing", "failure_count", "categories_other", "sum", "mean", "mean_low", "var", "min", "max"}
_ABOVE = {"var", "categories_other"}
_MOST_NAMES = 100_000


def check_description(site: str, data: Mapping[str, Any]) -> dict[str, list[list[str]]]:
    """Return the features of each data set of a site.

    Raises:
        SiteError: the answer has another form; names the site.
    """
    datasets = _mapping(site, data.get("datasets"), "data sets")
    for dataset, columns in datasets.items():
        if not isinstance(columns, Sequence) or len(columns) > _MOST_NAMES:
            raise _error(site, f"the features of {dataset!r} are {columns!r:.80}")
        for column in columns:
            fine = isinstance(column, Sequence) and len(column) == 2 and all(isinstance(each, str) for each in column)
            if not fine or column[1] not in KINDS["count"]:
                raise _error(site, f"{dataset!r} has the feature {column!r:.80}")
    return {dataset: [list(column) for column in columns] for dataset, columns in datasets.items()}


def check_values(site: str, data: Mapping[str, Any], described: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the statistics of a site by data set and feature, each of the form that merging needs.

    Args:
        site: the site.
        data: its answer.
        described: the features of its data sets.
    Raises:
        SiteError: a value is unusable; names the site, the feature and the statistic.
    """
    found: dict[str, dict[str, Any]] = {}
    for dataset, features in _mapping(site, data.get("datasets"), "data sets").items():
        known = {name for name, _ in described.get(dataset, ())}
        for feature, values in _mapping(site, features, f"features of {dataset!r}").items():
            if feature not in known:
                raise _error(site, f"{dataset!r} has statistics of {feature!r}, which is none of its features")
            checked = {name: _checked(value, name) for name, value in _mapping(site, values, feature).items()}
            if bad := [name for name, value in checked.items() if value is None]:
                raise _error(site, f"{bad[0]} of {feature!r} in {dataset!r} is {values[bad[0]]!r:.80}")
            found.setdefault(dataset, {})[feature] = checked
    return {dataset: found.get(dataset, {}) for dataset in described}


def check_refused(site: str, data: Mapping[str, Any]) -> list[list[str]]:
    """Return what a site refused or could not compute: [dataset, feature, statistic, reason]."""
    rows = data.get("refused", [])
    fine = isinstance(rows, Sequence) and all(isinstance(row, Sequence) and len(row) == 4 for row in rows)
    if not fine:
        raise _error(site, f"what it refused is {rows!r:.80}")
    return [[str(each) for each in row] for row in rows]


def check_rows(site: str, data: Mapping[str, Any]) -> dict[str, float]:
    """Return the number of rows of each data set that a site tells."""
    rows = _mapping(site, data.get("rows", {}), "rows")
    if not all(_is_finite(count) for count in rows.values()):
        raise _error(site, f"its numbers of rows are {rows!r:.80}")
    return dict(rows)


def check_counts(site: str, counts: Any, wanted: int) -> NDArray[np.int64]:
    """Return counts of values at most each of the thresholds that were asked for.

    Raises:
        SiteError: there are not as many, or they are no integers.
    """
    if not isinstance(counts, np.ndarray) or counts.shape != (wanted,) or counts.dtype.kind not in "iu":
        raise _error(site, f"its counts are {counts!r:.80} where {wanted} integers are expected")
    return counts.astype(np.int64)


def _checked(value: Any, name: str) -> Any:
    """Return a statistic if it has the form of its name; None otherwise."""
    if name in _NUMBERS:
        return value if _is_finite(value) and not (name in _ABOVE and value < 0) else None
    match name:
        case "histogram" if isinstance(value, Mapping):
            edges, counts = (np.asarray(value.get(each, ())) for each in ("edges", "counts"))
            fine = edges.ndim == counts.ndim == 1 and edges.dtype.kind in "fiu" and counts.dtype.kind in "fiu"
            if (
                not fine
                or len(edges) != len(counts) + 1
                or not (np.isfinite(edges).all() and np.isfinite(counts).all())
            ):
                return None
            return {"edges": edges.astype(np.float64).tolist(), "counts": counts.tolist()}
        case "categories" if isinstance(value, Mapping) and len(value) <= _MOST_NAMES:
            fine = all(isinstance(key, str) and _is_finite(count) for key, count in value.items())
            return dict(value) if fine else None
        case "quantile" if isinstance(value, Mapping):
            fine = all(_is_finite(each) for each in value.values() if not isinstance(each, Mapping))
            return dict(value) if fine else None
        case "distinct":
            return value
    return None


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and math.isfinite(value)


def _mapping(site: str, value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise _error(site, f"its {what} are {value!r:.80}")
    return value


def _error(site: str, text: str) -> SiteError:
    return SiteError(f"{site}: {text}; all sites need the same version of flare-stats", site=site)

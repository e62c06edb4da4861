"""Checks of what the sites answer: a site may be broken, or hostile, and must not spoil the statistics of others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flare_core import FlareError, SiteError
from flare_stats.algebra import CoMoments, Distinct
from flare_stats.config import KINDS

_NUMBERS = {"count", "missing", "failure_count", "categories_other", "sum", "mean", "mean_low", "var", "min", "max"}
_ABOVE = {"var", "count", "missing", "failure_count", "categories_other"}
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


def check_matrices(site: str, data: Mapping[str, Any], described: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the moments of pairs of features of each data set of a site.

    Raises:
        SiteError: they are of unknown features, or no moments; names the site and the data set.
    """
    found = {}
    for dataset, matrix in _mapping(site, data.get("matrices", {}), "matrices").items():
        if not isinstance(matrix, Mapping) or not isinstance(matrix.get("features"), Sequence):
            raise _error(site, f"the matrix of {dataset!r} is {matrix!r:.80}")
        known, features = {name for name, _ in described.get(dataset, ())}, list(matrix["features"])
        if not {*features} <= known or len({*features}) < len(features):
            raise _error(site, f"the matrix of {dataset!r} is of {features!r:.80}, which are none of its features")
        arrays = {name: value for name, value in matrix.items() if name != "features"}
        if _read(CoMoments, arrays) is None or np.shape(arrays["count"]) != (len(features), len(features)):
            raise _error(site, f"the matrix of {dataset!r} holds no moments of {len(features)} features")
        found[dataset] = {"features": features, **arrays}
    return found


def check_edges(site: str, feature: str, values: Mapping[str, Any], edges: Sequence[float]) -> None:
    """Check that a histogram has the edges that were asked for.

    Raises:
        SiteError: it has others.
    """
    if "histogram" in values and list(values["histogram"]["edges"]) != list(edges):
        raise _error(site, f"the histogram of {feature!r} has other edges than it was asked for")


def check_offer(site: str, data: Mapping[str, Any], described: Mapping[str, Any]) -> None:
    """Check the parts that a site offers for masked totals.

    Raises:
        SiteError: the offer has another form.
    """
    for dataset, features in _mapping(site, data.get("offered"), "offered parts").items():
        known = {name for name, _ in described.get(dataset, ())}
        for feature, parts in _mapping(site, features, "offered parts").items():
            fine = isinstance(parts, Sequence) and all(isinstance(part, str) for part in parts)
            if feature not in known or not fine:
                raise _error(site, f"it offers {parts!r:.80} of {feature!r} in {dataset!r}")
    for dataset, features in _mapping(site, data.get("matrices", {}), "matrices").items():
        if not isinstance(features, Sequence) or not all(isinstance(each, str) for each in features):
            raise _error(site, f"the matrix of {dataset!r} is of {features!r:.80}")
    if not _is_finite(data.get("rank_error", 0.0)):
        raise _error(site, f"its rank error is {data['rank_error']!r:.80}")


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
            return dict(value) if _is_quantile(value) else None
        case "distinct" if isinstance(value, Mapping):
            return _read(Distinct, value)
    return None


def _is_quantile(value: Mapping[str, Any]) -> bool:
    own = value.get("own", {})
    fine = isinstance(own, Mapping) and all(_is_finite(each) for pair in own.items() for each in pair)
    return fine and all(_is_finite(value.get(name, 0)) and value.get(name, 0) >= 0 for name in ("count", "error"))


def _read(kind: type[Distinct | CoMoments], value: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the data of an accumulator if it can be made of them."""
    try:
        kind.from_data(value)
    except (FlareError, ValueError, TypeError):
        return None
    return value


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and math.isfinite(value)


def _mapping(site: str, value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise _error(site, f"its {what} are {value!r:.80}")
    return value


def _error(site: str, text: str) -> SiteError:
    return SiteError(f"{site}: {text}; all sites need the same version of flare-stats", site=site)

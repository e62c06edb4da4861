"""Matrices of correlation and covariance that may be shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from flare_stats.privacy.rules import Rules

_SUMS = ("mean_high", "mean_low", "squares", "products")
_TELLS = ("correlation", "mean", "var")


def shown_matrix(rules: Rules, matrix: Mapping[str, Any]) -> tuple[dict[str, Any] | None, list[tuple[str, str, str]]]:
    """Return the co-moments that may leave, and what is refused: pair of features, statistic, rule.

    Entry ``[i, j]`` is over the records that have both values. It is left out where they are few; and where few others
    have only one of the two, whose values the difference to the variance of all would tell. With hardly more records
    than features, the matrix would tell the records themselves, and is left out.

    Args:
        rules: of the site.
        matrix: ``features``, and square arrays ``count``, ``mean_high``, ``mean_low``, ``squares`` and ``products``.
    """
    features = list(matrix["features"])
    refused: list[tuple[str, str, str]] = []
    kept = []
    for at, feature in enumerate(features):
        rule = next((rule for each in _TELLS if (rule := rules.forbids(feature, each)) is not None), None)
        if not rules.shows(feature):
            continue
        if rule is None:
            kept.append(at)
        else:
            refused.append((feature, "correlation", rule))
    if not kept:
        return None, refused
    counts = np.asarray(matrix["count"])[np.ix_(kept, kept)]
    names = [features[at] for at in kept]
    if rules.min_count > 1 and counts.diagonal().max() < len(names) + rules.min_count:
        rule = f"min_count: fewer values than {rules.min_count} more than features"
        return None, [*refused, *((name, "correlation", rule) for name in names)]
    own = counts.diagonal()
    is_few = (counts < rules.min_count) & (counts > 0)
    hidden = is_few.copy()
    for others in (own[:, None] - counts, own[None, :] - counts):
        hidden |= (others > 0) & (others < rules.min_difference)
    found: dict[str, Any] = {"features": names, "count": np.where(hidden, 0, counts)}
    if rules.round_counts_to > 1:
        found["count"] = rules.round_counts_to * np.rint(found["count"] / rules.round_counts_to).astype(np.int64)
    for name in _SUMS:
        values = np.where(hidden, 0.0, np.asarray(matrix[name], np.float64)[np.ix_(kept, kept)])
        found[name] = _rounded(values, rules.significant_digits) if name != "mean_low" else values
    if rules.significant_digits is not None:
        found["mean_low"] = np.zeros_like(found["mean_low"])
    for i, j in np.argwhere(np.triu(hidden)):
        rule = (
            f"min_count: fewer than {rules.min_count} records have both"
            if is_few[i, j]
            else f"min_difference: fewer than {rules.min_difference} records have only one of them"
        )
        refused.append((f"{names[i]}, {names[j]}", "correlation", rule))
    return found, refused


def facts_of(matrix: Mapping[str, Any]) -> dict[str, float]:
    """Return what tells the values behind a matrix from others."""
    counts = np.asarray(matrix["count"])
    sums = {
        name: float(np.abs(np.asarray(matrix[name], np.float64)).sum()) for name in ("mean_high", "squares", "products")
    }
    return {"count": int(counts.diagonal().max()), "pairs": int(counts.sum()), **sums}


def _rounded(values: Any, digits: int | None) -> Any:
    if digits is None:
        return values
    return np.array([[float(f"{each:.{digits - 1}e}") for each in row] for row in values], np.float64)

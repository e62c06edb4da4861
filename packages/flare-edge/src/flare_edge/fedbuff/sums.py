"""Sums of devices' updates and metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from flare_edge.fixed_point import add
from flare_edge.messages import VersionSum

Metrics = Mapping[str, tuple[float, int]]


def add_sum(first: VersionSum | None, second: VersionSum) -> VersionSum:
    """Return the sum of two; the arrays of the first are changed in place, those of the second never.

    Args:
        first: None for the copy of the second.
        second: what is added.
    Raises:
        EdgeError: they differ in names or shapes; nothing was added.
    """
    if first is None:
        first = VersionSum({}, 0, 0, {})
    total = dict(first.total)
    if second.total:  # empty where devices have only evaluated
        add(total, second.total)
    metrics = dict(first.metrics)
    add_metrics(metrics, second.metrics)
    return VersionSum(total, first.weight + second.weight, first.count + second.count, metrics)


def add_metrics(into: dict[str, tuple[float, int]], other: Metrics) -> None:
    """Add sums of metrics to others, in place."""
    for name, (total, weight) in other.items():
        earlier, earlier_weight = into.get(name, (0.0, 0))
        into[name] = (earlier + total, earlier_weight + weight)


def means(sums: Iterable[VersionSum]) -> dict[str, float]:
    """Return the weighted means of the metrics of several sums."""
    metrics: dict[str, tuple[float, int]] = {}
    for each in sums:
        add_metrics(metrics, each.metrics)
    return {name: total / weight for name, (total, weight) in sorted(metrics.items()) if weight}


def sum_to_data(each: VersionSum) -> dict[str, Any]:
    """Return a sum as nested dicts; arrays are copied."""
    return {
        "total": {name: value.copy() for name, value in each.total.items()},
        "weight": each.weight,
        "count": each.count,
        "metrics": {name: list(pair) for name, pair in each.metrics.items()},
    }


def sum_from_data(data: Mapping[str, Any]) -> VersionSum:
    """Return the sum that :func:`sum_to_data` wrote; arrays are copied."""
    return VersionSum(
        {name: value.copy() for name, value in data["total"].items()},
        int(data["weight"]),
        int(data["count"]),
        {name: (float(total), int(weight)) for name, (total, weight) in data["metrics"].items()},
    )

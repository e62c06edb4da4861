"""The statistics of several sites from those of each: sums of counts, and moments in exact arithmetic."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from flare_stats.algebra import Distinct

Values = Mapping[str, Any]
"""Statistics of one feature of one data set, by name."""

COUNTS = ("count", "missing", "failure_count", "categories_other")


def merged(parts: Sequence[Values]) -> dict[str, Any]:
    """Return the statistics of several sites together, each over the sites that have it.

    Moments are merged as fractions, so that only what the sites sent is rounded.

    Source: Chan, Golub and LeVeque 1983, "Algorithms for computing the sample variance", equation 1.5b.
    """
    found: dict[str, Any] = {}
    for name in COUNTS:
        if counts := [part[name] for part in parts if name in part]:
            found[name] = sum(counts)
    if sums := [part["sum"] for part in parts if "sum" in part]:
        found["sum"] = to_float(sum((Fraction(each) for each in sums), Fraction(0)))
    for name, choose in (("min", min), ("max", max)):
        if ends := [part[name] for part in parts if name in part]:
            found[name] = choose(ends)
    found |= _moments(parts)
    if histograms := [part["histogram"] for part in parts if "histogram" in part]:
        found["histogram"] = {
            "edges": histograms[0]["edges"],
            "counts": [sum(column) for column in zip(*(each["counts"] for each in histograms), strict=True)],
        }
    if categories := [part["categories"] for part in parts if "categories" in part]:
        found["categories"] = _added(categories)
    if sketches := [part["distinct"] for part in parts if "distinct" in part]:
        together = Distinct.from_data(sketches[0])
        for sketch in sketches[1:]:
            together.merge(Distinct.from_data(sketch))
        found["distinct"] = together.to_data()
    return found


def _moments(parts: Sequence[Values]) -> dict[str, float]:
    means = [(part, mean) for part in parts if part.get("count", 0) > 0 and (mean := _mean(part)) is not None]
    if not means:
        return {}
    total = sum(Fraction(part["count"]) for part, _ in means)
    mean = sum((Fraction(part["count"]) * mean for part, mean in means), Fraction(0)) / total
    found = {"mean": to_float(mean)}
    squares = [(part, each, square) for part, each in means if (square := _squares(part)) is not None]
    if len(squares) == len(means) and total > 1:
        around = Fraction(0)
        for part, each, square in squares:
            around += square + Fraction(part["count"]) * (each - mean) ** 2
        found["var"] = max(to_float(around / (total - 1)), 0.0)
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _mean(part: Values) -> Fraction | None:
    if "mean" in part:
        return Fraction(part["mean"]) + Fraction(part.get("mean_low", 0.0))
    return Fraction(part["sum"]) / Fraction(part["count"]) if "sum" in part else None


def _squares(part: Values) -> Fraction | None:
    """Return the sum of squared deviations from the site's own mean; None if it is not known."""
    if part["count"] <= 1:
        return Fraction(0)
    if "var" in part:
        return Fraction(part["var"]) * (Fraction(part["count"]) - 1)
    return None


def _added(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for each in counts:
        for value, count in each.items():
            total[value] = total.get(value, 0) + count
    return total


def to_float(value: Fraction) -> float:
    """Round a fraction to a float; infinite beyond the range of float64."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def shown(values: Values, wanted: Sequence[str], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return statistics as the files have them.

    Args:
        values: as merged, with ``quantile`` by fraction.
        wanted: the names of those that were asked for.
        options: of each, for the feature.
    """
    found: dict[str, Any] = {}
    for name in wanted:
        value = _shown(name, values, options[name])
        if value is not None:
            found[name] = value
    if "categories" in found:
        cut = sum(values["categories"].values()) - sum(found["categories"].values())
        if others := values.get("categories_other", 0) + cut:
            found["categories_other"] = others
    return found


def _shown(name: str, values: Values, options: Any) -> Any:
    categories = values.get("categories")
    match name:
        case "stddev":
            return math.sqrt(values["var"]) if "var" in values else None
        case "histogram" if name in values:
            edges, counts = list(values[name]["edges"]), list(values[name]["counts"])
            return [list(each) for each in zip(edges, edges[1:], counts, strict=False)]
        case "quantile" if name in values:
            return {f"{fraction:g}": value for fraction, value in values[name].items()} or None
        case "distinct" if name in values:
            return round(Distinct.from_data(values[name]).estimate)
        case "categories" if categories is not None:
            return dict(_by_frequency(categories)[: None if options["values"] else options["most"]])
        case "top_values" if categories is not None:
            return [list(pair) for pair in _by_frequency(categories)[: options["number"]]]
        case "balance" if categories:
            total = sum(categories.values()) + values.get("categories_other", 0)
            return {value: count / total for value, count in _by_frequency(categories)} if total > 0 else None
    return values.get(name)


def _by_frequency(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))

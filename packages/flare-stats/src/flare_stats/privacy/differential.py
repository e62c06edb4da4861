"""Answers with differential privacy: the statistics of a feature, made of a few releases with noise.

    release    values                                 moved by one record by at most    used for
    count      number of values                       1                                 count, sum, mean, var, stddev
    sum        sum of (x - c) / r, in steps           1                                 sum, mean, var, stddev
    squares    sum of ((x - c) / r)**2, in steps      1                                 var, stddev
    missing, failure_count    numbers of values       1                                 themselves
    histogram  counts of the bins                     1 in one of them                  histogram
    quantile   counts of cells between the bounds     1 in one of them                  quantile
    categories counts of those that the policy names  1 in one of them                  categories, top_values, balance

where c is the middle of the feature's bounds and r half their distance. All values were moved into the bounds before
they were added. Two data sets are neighbours if one has a person more than the other, whose records are at most
``records_per_person``; sensitivities are that many times as large.

A sum's step is 2**-20. Its sensitivity is taken 1 % larger, which covers what the rounding of float64 can add in sums
of up to 10**8 values, since the policy refuses bounds that lie far from 0 compared with their distance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flare_stats.privacy.mechanisms import noise_scale, noisy
from flare_stats.privacy.rules import Privacy, Rules

STEPS = 1 << 20
_ROUNDING = 1.01
NEEDS = {
    "count": ("count",),
    "sum": ("count", "sum"),
    "mean": ("count", "sum"),
    "var": ("count", "sum", "squares"),
    "stddev": ("count", "sum", "squares"),
    "missing": ("missing",),
    "failure_count": ("failure_count",),
    "histogram": ("histogram",),
    "quantile": ("quantile",),
    "categories": ("categories",),
    "top_values": ("categories",),
    "balance": ("categories",),
}
"""The releases that a statistic is made of."""

_STATISTIC = {"squares": "var"}  # whose epsilon a release spends, if that is not its own name
_SUMS = ("sum", "squares")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A release that is to be made.

    Attributes:
        name: of the release.
        values: true values, integers.
        detail: what else its noise belongs to, such as the edges of bins.
    """

    name: str
    values: Sequence[int]
    detail: Sequence[float] | Sequence[str] = ()


def made_of(name: str) -> list[str]:
    """Return the statistics that need a release."""
    return [statistic for statistic, needs in NEEDS.items() if name in needs]


def rank_edges(rules: Rules, feature: str) -> list[float] | None:
    """Return the edges of the cells in which the values of a feature are counted for quantiles."""
    bounds = rules.bounds(feature)
    if rules.privacy is None or bounds is None:
        return None
    return [float(each) for each in np.linspace(*bounds, rules.privacy.quantile_cells + 1)]


def refusal(rules: Rules, feature: str, statistic: str) -> str | None:
    """Return why a statistic has no answer with differential privacy, known without the data; None if it has one."""
    if statistic in ("min", "max"):
        return f"differential_privacy: the bound of the policy takes the place of the {statistic}"
    if statistic not in NEEDS:
        return f"differential_privacy: {statistic} has no answer with noise"
    needs = NEEDS[statistic]
    if "categories" in needs and not rules.categories(feature):
        return f"differential_privacy: the policy has no features.{feature}.categories"
    if {*needs} & {"sum", "quantile"} and rules.bounds(feature) is None:
        return f"differential_privacy: the policy has no features.{feature}.bounds"
    return None


def wanted_releases(
    rules: Rules, feature: str, values: Mapping[str, Any], statistics: Collection[str]
) -> dict[str, Wanted]:
    """Return the releases that some statistics of a feature are made of, by name.

    Args:
        rules: those of the site.
        feature: its name.
        values: the true statistics, of values within the bounds.
        statistics: those that are asked for, without those that are refused.
    """
    names = dict.fromkeys(name for statistic in statistics for name in NEEDS[statistic])
    found = {}
    for name in names:
        made = _MAKE.get(name, _plain)(rules, feature, values, name)
        if made is not None:
            found[name] = made
    return found


def release(privacy: Privacy, wanted: Wanted) -> tuple[list[int], float, float, float]:
    """Draw the noise of a release; return its values, the scale of the noise, and the epsilon and delta spent."""
    epsilon, delta = cost(privacy, wanted.name)
    unit = STEPS * _ROUNDING if wanted.name in _SUMS else 1.0
    scale = noise_scale(privacy.mechanism, math.ceil(unit * privacy.records_per_person), epsilon, delta)
    return noisy(wanted.values, privacy.mechanism, scale), scale, epsilon, delta


def cost(privacy: Privacy, name: str) -> tuple[float, float]:
    """Return the epsilon and the delta that a release spends."""
    epsilon = privacy.epsilons.get(_STATISTIC.get(name, name), privacy.epsilon)
    return epsilon, privacy.delta if privacy.mechanism == "gaussian" else 0.0


def statistics_of(
    rules: Rules, feature: str, released: Mapping[str, Sequence[int]], true: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the statistics of a feature from its releases; of ``true``, only what is no secret: edges of bins."""
    found: dict[str, Any] = {}
    bounds = rules.bounds(feature)
    for name in ("count", "missing", "failure_count"):
        if name in released:
            found[name] = max(int(released[name][0]), 0)
    if bounds is not None:
        found |= _moments(bounds, released)
        found |= dict(zip(("min", "max"), bounds, strict=True)) if "count" in released else {}
    if "histogram" in released:
        counts = [max(int(each), 0) for each in released["histogram"]]
        found["histogram"] = {"edges": [float(each) for each in true["histogram"]["edges"]], "counts": counts}
    if "quantile" in released:
        ranks = monotone_ranks(released["quantile"])
        found["quantile"] = {"count": ranks[-1], "error": min(_rank_noise(rules) / max(ranks[-1], 1), 1.0)}
    if "categories" in released:
        names = rules.categories(feature)
        *counts, others = [max(int(each), 0) for each in released["categories"]]
        found |= {"categories": dict(zip(names, counts, strict=True)), "categories_other": others}
    return found


def monotone_ranks(cells: Sequence[int]) -> list[int]:
    """Return the number of values below the end of each cell, from noisy counts: the closest ascending numbers.

    Source: Barlow et al. 1972, isotonic regression by pooling adjacent violators; Hay et al. 2010, arXiv:0904.0942,
    for its use after noise.
    """
    blocks: list[tuple[float, int]] = []  # mean and length
    for rank in np.cumsum(np.asarray(cells, np.float64)):
        mean, length = float(rank), 1
        while blocks and blocks[-1][0] > mean:
            before, long = blocks.pop()
            mean, length = (before * long + mean * length) / (long + length), long + length
        blocks.append((mean, length))
    return [max(round(mean), 0) for mean, length in blocks for _ in range(length)]


def _rank_noise(rules: Rules) -> float:
    """Return three standard deviations of the noise of the last rank, which is the sum of that of all cells."""
    privacy = rules.privacy
    assert privacy is not None
    scale = noise_scale(privacy.mechanism, privacy.records_per_person, *cost(privacy, "quantile"))
    variance = 2 * scale**2 if privacy.mechanism == "laplace" else scale**2
    return 3 * math.sqrt(variance * privacy.quantile_cells)


def _moments(bounds: tuple[float, float], released: Mapping[str, Sequence[int]]) -> dict[str, float]:
    if "sum" not in released or "count" not in released:
        return {}
    middle, half = (bounds[0] + bounds[1]) / 2, (bounds[1] - bounds[0]) / 2
    count = max(int(released["count"][0]), 0)
    total = released["sum"][0] / STEPS
    found = {"sum": half * total + middle * count}
    if count > 0:
        share = min(max(total / count, -1.0), 1.0)
        found["mean"] = middle + half * share
        if "squares" in released and count > 1:
            squares = min(max(released["squares"][0] / STEPS / count, 0.0), 1.0)
            found["var"] = half * half * max(squares - share * share, 0.0) * count / (count - 1)
    return found


def _plain(rules: Rules, feature: str, values: Mapping[str, Any], name: str) -> Wanted | None:
    return Wanted(name, [int(values.get(name, 0))])


def _sums(rules: Rules, feature: str, values: Mapping[str, Any], name: str) -> Wanted | None:
    bounds = rules.bounds(feature)
    assert bounds is not None  # or the statistic was refused
    low, high = bounds
    middle, half, count = (low + high) / 2, (high - low) / 2, int(values.get("count", 0))
    if count and "mean" not in values:
        return None
    apart = ((values["mean"] - middle) + values.get("mean_low", 0.0)) / half if count else 0.0
    if name == "sum":
        return Wanted(name, [round(apart * count * STEPS)])
    spread = values.get("var", 0.0) * max(count - 1, 0) / half**2
    return Wanted(name, [round((spread + count * apart**2) * STEPS)])


def _histogram(rules: Rules, feature: str, values: Mapping[str, Any], name: str) -> Wanted | None:
    if "histogram" not in values:
        return None
    return Wanted(name, list(values["histogram"]["counts"]), [float(each) for each in values["histogram"]["edges"]])


def _cells(rules: Rules, feature: str, values: Mapping[str, Any], name: str) -> Wanted | None:
    cells = values.get("quantile", {})
    edges = rank_edges(rules, feature)
    if "counts" not in cells or [float(each) for each in cells.get("edges", ())] != edges:
        return None
    return Wanted(name, list(cells["counts"]), edges or ())


def _categories(rules: Rules, feature: str, values: Mapping[str, Any], name: str) -> Wanted | None:
    if "categories" not in values:
        return None
    names, counts = rules.categories(feature), values["categories"]
    named = [int(counts.get(each, 0)) for each in names]
    total = sum(counts.values()) + values.get("categories_other", 0)
    return Wanted(name, [*named, int(total) - sum(named)], names)


_Make = Callable[[Rules, str, Mapping[str, Any], str], Wanted | None]
_MAKE: Mapping[str, _Make] = {
    "sum": _sums,
    "squares": _sums,
    "histogram": _histogram,
    "quantile": _cells,
    "categories": _categories,
}

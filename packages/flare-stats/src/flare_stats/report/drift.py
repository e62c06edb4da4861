"""Drift between sites: the population stability index and the Kolmogorov-Smirnov distance, from histograms.

Each place is compared with all other places of its level together, on bins common to them, but for places that drift
themselves. Two numbers tell how far apart two distributions are:

- The population stability index, PSI = Σ (pᵢ − qᵢ) ln(pᵢ / qᵢ) over groups of bins i, is the divergence of Jeffreys
  (H. Jeffreys, "An invariant form for the prior probability in estimation problems", Proc. Royal Society A 186, 1946;
  S. Kullback and R. Leibler, "On information and sufficiency", Ann. Math. Stat. 22, 1951). For two normal distributions
  of equal width whose means lie δ standard deviations apart it is δ². The customary thresholds 0.10 and 0.25 are of
  N. Siddiqi, Credit Risk Scorecards, Wiley 2006; they mean shifts by 0.32 and by 0.5 standard deviations.
- The Kolmogorov-Smirnov distance D = max |P(x) − Q(x)| of the cumulative shares, here at the edges of bins, so that it
  is at most the distance of the values themselves. For the same two normal distributions it is 2 Φ(δ / 2) − 1: 0.10 and
  0.20 mean 0.25 and 0.5 standard deviations.

Small samples differ by chance. Without drift, PSI / (1 / n + 1 / m) of two samples of n and m values in k groups is
distributed as χ² with k − 1 degrees of freedom (B. Yurdakul and J. Naranjo, "Statistical properties of the population
stability index", J. Risk Model Validation 14(4), 2020), and D √(n m / (n + m)) as Kolmogorov's variable or, because of
the bins, somewhat lower (N. Smirnov, "Table for estimating the goodness of fit of empirical distributions", Ann. Math.
Stat. 19, 1948).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flare_stats.report.data import BinnedCounts

Floats = NDArray[np.float64]

GROUPS = 10
PSI_SHIFT, PSI_DRIFT = 0.10, 0.25
KS_SHIFT, KS_DRIFT = 0.10, 0.20
CHANCE = 0.01  # of a report without drift that marks anything, however many comparisons it makes
NONE, SHIFT, DRIFT = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Drift:
    """How far the values of one place are from those of the other places.

    Attributes:
        psi: population stability index.
        psi_chance: probability of an index at least as large without drift.
        ks: Kolmogorov-Smirnov distance; None for categories, which have no order.
        ks_chance: probability of a distance at least as large without drift.
        count: number of values of the place.
    """

    psi: float
    psi_chance: float
    ks: float | None
    ks_chance: float
    count: float

    def beyond_chance(self, chance: float = CHANCE) -> bool:
        """Return True if one of the two numbers hardly occurs without drift."""
        return min(self.psi_chance, self.ks_chance) <= chance

    def degree(self, chance: float = CHANCE) -> int:
        """Return NONE, SHIFT or DRIFT, ignoring a number whose probability without drift is above ``chance``.

        Args:
            chance: divide it by the number of comparisons (Bonferroni), so that it holds for all of them together.
        """
        if not self.beyond_chance(chance):
            return NONE
        psi = self.psi if self.psi_chance <= chance else 0.0
        ks = self.ks if self.ks is not None and self.ks_chance <= chance else 0.0
        if psi >= PSI_DRIFT or ks >= KS_DRIFT:
            return DRIFT
        return SHIFT if psi >= PSI_SHIFT or ks >= KS_SHIFT else NONE


def population_stability_index(counts: Floats, others: Floats) -> Floats:
    """Return the population stability index of counts over the same groups, which are the last axis.

    Half a value is added to every group of both (the prior of Jeffreys), so that no empty group makes it infinite.

    Example:
        >>> a, b = np.array([50.0, 50.0]), np.array([90.0, 10.0])
        >>> round(float(population_stability_index(a, b)), 3)
        0.853
    """
    p = (counts + 0.5) / (counts.sum(axis=-1, keepdims=True) + 0.5 * counts.shape[-1])
    q = (others + 0.5) / (others.sum(axis=-1, keepdims=True) + 0.5 * counts.shape[-1])
    index: Floats = ((p - q) * np.log(p / q)).sum(axis=-1)
    return index


def kolmogorov_smirnov(counts: Floats, others: Floats) -> Floats:
    """Return the largest distance of cumulative shares over the same ordered bins, which are the last axis.

    The distance of counts that are all zero is 0.
    """
    total, other_total = counts.sum(axis=-1, keepdims=True), others.sum(axis=-1, keepdims=True)
    shares = counts.cumsum(axis=-1) / np.where(total > 0, total, 1.0)
    distances = np.abs(shares - others.cumsum(axis=-1) / np.where(other_total > 0, other_total, 1.0))
    distance: Floats = np.where((total > 0) & (other_total > 0), distances, 0.0).max(axis=-1)
    return distance


def common_bins(histograms: Sequence[BinnedCounts]) -> tuple[Floats, Floats]:
    """Return edges common to all histograms, and a row of counts for each.

    A bin divided by an edge of another histogram is split in proportion to width, as if its values were spread evenly.
    """
    edges = histograms[0].edges
    if all(np.array_equal(each.edges, edges) for each in histograms):
        return edges, np.stack([each.counts for each in histograms])
    edges = np.unique(np.concatenate([each.edges for each in histograms]))
    cumulative = [np.interp(edges, each.edges, np.concatenate([[0.0], each.counts.cumsum()])) for each in histograms]
    return edges, np.diff(np.stack(cumulative), axis=1)


def compare_histograms(histograms: Mapping[str, BinnedCounts]) -> dict[str, Drift]:
    """Compare each place's histogram with those of all others together; empty for fewer than two."""
    if len(histograms) < 2:
        return {}
    _, counts = common_bins(list(histograms.values()))
    grouped = np.add.reduceat(counts, _group_starts(counts.sum(axis=0)), axis=1)
    return dict(zip(histograms, _compare(grouped, counts), strict=True))


def compare_categories(categories: Mapping[str, Mapping[str | None, float]]) -> dict[str, Drift]:
    """Compare each place's counts of categories with those of all others together; empty for fewer than two.

    The most frequent categories are a group each, the rest is one. A place counts under None what it does not name; a
    category that such a place does not name therefore belongs to the rest.
    """
    present = {place: counts for place, counts in categories.items() if sum(counts.values()) > 0}
    if len(present) < 2:
        return {}
    pooled: dict[str | None, float] = {}
    for counts in present.values():
        for name, count in counts.items():
            pooled[name] = pooled.get(name, 0.0) + count
    incomplete = [counts for counts in present.values() if counts.get(None, 0.0) > 0]
    known = [name for name in pooled if name is not None and pooled[name] > 0]
    named = [name for name in known if all(name in counts for counts in incomplete)]
    frequent = sorted(named, key=lambda name: (-pooled[name], name))
    if len(frequent) > GROUPS or len(named) < len(known) or incomplete:
        frequent = frequent[: GROUPS - 1]
    rows = [[counts.get(name, 0.0) for name in frequent] for counts in present.values()]
    rests = [max(sum(counts.values()) - sum(row), 0.0) for counts, row in zip(present.values(), rows, strict=True)]
    if sum(rests) > 0.5:
        rows = [[*row, rest] for row, rest in zip(rows, rests, strict=True)]
    return dict(zip(present, _compare(np.array(rows), None), strict=True)) if rows[0] else {}


def chi_square_tail(x: float, degrees: int) -> float:
    """Return the probability that χ² with ``degrees`` degrees of freedom exceeds ``x``.

    Closed form: M. Abramowitz and I. Stegun, Handbook of Mathematical Functions, 26.4.4 and 26.4.5.
    """
    if x <= 0 or degrees < 1:
        return 1.0
    odd = degrees % 2
    tail = math.erfc(math.sqrt(x / 2)) if odd else math.exp(-x / 2)
    term = math.sqrt(2 * x / math.pi) * math.exp(-x / 2) if odd else math.exp(-x / 2) * x / 2
    for step in range(3 if odd else 4, degrees + 1, 2):
        tail += term
        term *= x / step
    return min(tail, 1.0)


def kolmogorov_tail(x: float) -> float:
    """Return the probability that a variable with the distribution of Kolmogorov exceeds ``x``."""
    if x < 0.2:  # where the series converges slowly to 1
        return 1.0
    total: float = sum((1 if k % 2 else -1) * math.exp(-2 * (k * x) ** 2) for k in range(1, 20))
    return min(max(2 * total, 0.0), 1.0)


def _compare(grouped: Floats, ordered: Floats | None) -> list[Drift]:
    """Compare each row with the sum of the others, by groups for the index and by ordered bins for the distance.

    A row that drifts is taken out of what the others are compared with, the strongest first, as long as more than half
    of the rows remain. Otherwise one site with other units would make all sites look different.
    """
    count = len(grouped)
    kept = np.ones(count, bool)
    while True:
        drifts = _drifts(grouped, ordered, kept)
        drifting = [row for row in np.flatnonzero(kept) if drifts[row].degree(CHANCE / count) == DRIFT]
        if not drifting or kept.sum() - 1 <= count / 2:
            return drifts
        kept[max(drifting, key=lambda row: drifts[row].psi)] = False


def _drifts(grouped: Floats, ordered: Floats | None, kept: NDArray[np.bool_]) -> list[Drift]:
    """Compare each row with the sum of the kept ones but itself."""
    others = _others(grouped, kept)
    sizes, other_sizes = grouped.sum(axis=1), others.sum(axis=1)
    indices = population_stability_index(grouped, others)
    distances = None if ordered is None else kolmogorov_smirnov(ordered, _others(ordered, kept))
    found = []
    for row, (n, m, index) in enumerate(zip(sizes.tolist(), other_sizes.tolist(), indices.tolist(), strict=True)):
        if n <= 0 or m <= 0:
            found.append(Drift(0.0, 1.0, None, 1.0, n))
            continue
        ks = None if distances is None else float(distances[row])
        psi_chance = chi_square_tail(index / (1 / n + 1 / m), grouped.shape[1] - 1)
        ks_chance = 1.0 if ks is None else kolmogorov_tail(ks * math.sqrt(n * m / (n + m)))
        found.append(Drift(index, psi_chance, ks, ks_chance, n))
    return found


def _others(counts: Floats, kept: NDArray[np.bool_]) -> Floats:
    present = np.where(kept[:, None], counts, 0.0)
    others: Floats = np.maximum(present.sum(axis=0) - present, 0.0)
    return others


def _group_starts(pooled: Floats) -> NDArray[np.intp]:
    """Return the first bin of each of at most GROUPS groups of adjacent bins that hold about equally many values.

    A bin belongs to the group in which the middle of its cumulative share lies; an empty bin to the group before it.
    """
    share = pooled / pooled.sum()
    middle = share.cumsum() - share / 2
    group = np.minimum((middle * GROUPS).astype(int), GROUPS - 1)
    filled = np.flatnonzero(pooled > 0)
    changes = np.flatnonzero(np.diff(group[filled], prepend=-1))
    starts = filled[changes]
    starts[0] = 0
    return starts

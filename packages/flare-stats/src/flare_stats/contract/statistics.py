"""Bounds on what chance alone can do, so that a small table does not break a rule by accident.

A rule about a share is broken by accident at most once in a thousand tables whose true share is just the allowed one. A
distance between equal distributions is taken for a difference once in a hundred thousand columns.
"""

from __future__ import annotations

import math

OF_SHARES, OF_DISTANCES = 1e-3, 1e-5


def exceeds(count: int, total: int, share: float) -> bool:
    """Return True if ``count`` of ``total`` is more than ``share``, by more than chance explains.

    A share of 0 is exceeded by a single case, and one of 1 never. The bound on the tail of the binomial distribution is
    Chernoff's: ``exp(-total · KL(count / total, share))``.
    """
    if total == 0 or count <= share * total:
        return False
    return share <= 0 or total * divergence(count / total, share) > -math.log(OF_SHARES)


def falls_short(count: int, total: int, share: float) -> bool:
    """Return True if ``count`` of ``total`` is less than ``share``, by more than chance explains."""
    return exceeds(total - count, total, 1 - share)


def divergence(observed: float, expected: float) -> float:
    """Return the Kullback-Leibler divergence of two Bernoulli distributions, in nats."""
    parts = ((observed, expected), (1 - observed, 1 - expected))
    return sum(0.0 if seen == 0 else math.inf if true <= 0 else seen * math.log(seen / true) for seen, true in parts)


def chance_distance(first: int, second: int) -> float:
    """Return the largest Kolmogorov-Smirnov distance that chance explains between samples of one distribution.

    Source: the asymptotic two-sample bound, ``sqrt(ln(2 / α) / 2 · (1 / n + 1 / m))``.
    """
    if not first or not second:
        return 1.0
    return min(1.0, math.sqrt(math.log(2 / OF_DISTANCES) / 2 * (1 / first + 1 / second)))

"""Noise of differential privacy, drawn by OpenDP.

Everything that gets noise is an integer or a list of integers: counts, or sums in units of a fixed step. The noise is
an integer, too, and drawn exactly, so that no digits of a float tell what it was added to (Mironov 2012, "On
significance of the least significant bits for differential privacy").

    laplace    P(k) ~ exp(-|k| / b), b = sensitivity in the L1 norm / epsilon
    gaussian   P(k) ~ exp(-k**2 / (2 s**2)), s the least for which OpenDP's conversion of zCDP gives (epsilon, delta)

Source: Ghosh, Roughgarden and Sundararajan 2009, arXiv:0811.2841; Canonne, Kamath and Steinke 2020, arXiv:2004.00010.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from flare_stats.privacy.errors import PolicyError

_SLACK = 1 + 1e-9  # for the rounding of floats, on the safe side


def check_installed() -> None:
    """Check that OpenDP is there.

    Raises:
        PolicyError: it is not; says how to install it.
    """
    _opendp()


def noise_scale(mechanism: str, sensitivity: float, epsilon: float, delta: float) -> float:
    """Return the scale of the noise: ``b`` of Laplace's distribution, or the standard deviation of a Gaussian one.

    Args:
        mechanism: ``laplace`` or ``gaussian``.
        sensitivity: how far one person can move the values, in the norm of the mechanism: L1, or L2.
        epsilon: of the release.
        delta: of the release, for Gaussian noise.
    """
    if mechanism == "laplace":
        return sensitivity / epsilon * _SLACK
    return sensitivity * _unit_deviation(epsilon, delta) * _SLACK


def noisy(values: Sequence[int], mechanism: str, scale: float) -> list[int]:
    """Return the values, each with noise of its own."""
    measurement = _measurement(mechanism, scale)
    return [int(each) for each in measurement([int(each) for each in values])]


def _measurement(mechanism: str, scale: float) -> Any:
    dp = _opendp()
    domain = dp.vector_domain(dp.atom_domain(T="i64"))
    if mechanism == "laplace":
        return dp.m.make_laplace(domain, dp.l1_distance(T="i64"), scale)
    return dp.m.make_gaussian(domain, dp.l2_distance(T="f64"), scale)


@lru_cache(maxsize=256)
def _unit_deviation(epsilon: float, delta: float) -> float:
    dp = _opendp()

    def approximate(scale: float) -> Any:
        return dp.c.make_fix_delta(dp.c.make_zCDP_to_approxDP(_measurement("gaussian", scale)), delta)

    return float(dp.binary_search_param(approximate, d_in=1.0, d_out=(epsilon, delta)))


@lru_cache(maxsize=1)
def _opendp() -> Any:
    try:
        import opendp.prelude as dp
    except ImportError as error:
        raise PolicyError(
            "the policy asks for differential privacy, which needs OpenDP: pip install 'flare-stats[dp]'"
        ) from error
    dp.enable_features("contrib")
    return dp

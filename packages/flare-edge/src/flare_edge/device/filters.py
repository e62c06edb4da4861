"""Filters on a device's update, applied before it leaves the device.

A filter is a function from an update to an update. A run's configuration may name some (``filters``), and the owner of
a device may add others: they come first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from flare_edge.errors import EdgeError

Update = Mapping[str, np.ndarray]
Filter = Callable[[Update], Update]


def clip_to_norm(norm: float) -> Filter:
    """Return a filter that scales an update down to an L2 norm, over all its parameters together.

    A millionth is taken off, so that the norm holds after rounding to float32: a gateway refuses what is beyond its
    own.

    Raises:
        EdgeError: the norm is not positive.
    """
    if not (math.isfinite(norm) and norm > 0):
        raise EdgeError(f"an update cannot be clipped to the norm {norm}; give a positive number")

    target = norm * (1 - 1e-6)

    def clip(update: Update) -> Update:
        length = math.sqrt(sum(float((value.astype(np.float64) ** 2).sum()) for value in update.values()))
        if length <= target:
            return update
        return {name: (value * (target / length)).astype(value.dtype) for name, value in update.items()}

    return clip


def gaussian_noise(stddev: float, rng: np.random.Generator | None = None) -> Filter:
    """Return a filter that adds normal noise to every value.

    After :func:`clip_to_norm` this is the Gaussian mechanism: Dwork and Roth 2014, appendix A. The float32 numbers that
    leave the device are not a discrete mechanism: their low bits are not protected.

    Args:
        stddev: the noise's standard deviation.
        rng: for tests; a new one, seeded by the operating system, if None.

    Raises:
        EdgeError: a negative standard deviation.
    """
    if not (math.isfinite(stddev) and stddev >= 0):
        raise EdgeError(f"noise cannot have the standard deviation {stddev}; give a number from 0")
    source = np.random.default_rng() if rng is None else rng

    def add(update: Update) -> Update:
        return {
            name: (value + source.normal(0, stddev, value.shape)).astype(value.dtype) for name, value in update.items()
        }

    return add


def filters_from(config: Mapping[str, Any]) -> list[Filter]:
    """Return the filters that a run's configuration names.

    Args:
        config: the configuration, of which this reads ``filters``: a list of ``{"kind": "clip", "norm"}`` and
            ``{"kind": "noise", "stddev"}``.

    Raises:
        EdgeError: an unknown kind, or a value out of its range.
    """
    filters = []
    for each in config.get("filters", ()):
        kind = each.get("kind")
        if kind == "clip":
            filters.append(clip_to_norm(float(each["norm"])))
        elif kind == "noise":
            filters.append(gaussian_noise(float(each["stddev"])))
        else:
            raise EdgeError(f"unknown filter {kind!r}; this device has 'clip' and 'noise'")
    return filters

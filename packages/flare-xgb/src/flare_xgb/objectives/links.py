"""Links between margins and predictions: logistic, exponential, softmax; and their inverses. All in float32."""

from __future__ import annotations

import numpy as np

from flare_core import FlareError
from flare_xgb.objectives.base import EPSILON, Float32s
from flare_xgb.objectives.libm import exp, log


def sigmoid(margins: Float32s) -> Float32s:
    """Return 1 / (1 + e^−x)."""
    return np.asarray(1 / (exp(np.minimum(-margins, np.float32(88.7))) + 1), np.float32)


def logit(probabilities: Float32s, name: str) -> Float32s:
    """Return the margins of probabilities, which are first moved into [1e-6, 1 − 1e-6].

    Raises:
        FlareError: a probability is not in [0, 1].
    """
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise FlareError(f"base_score must be in (0, 1) for {name}, not {probabilities.tolist()}")
    low = np.float32(EPSILON)
    bounded = np.clip(probabilities, low, np.float32(1) - low)
    return -log(np.asarray(1 / bounded - 1, np.float32))


def log_of_positive(means: Float32s, name: str) -> Float32s:
    """Return the logarithms of means.

    Raises:
        FlareError: a mean is not positive.
    """
    if not (means > 0).all():
        raise FlareError(f"base_score must be greater than 0 for {name}, not {means.tolist()}; give a positive one")
    return log(means)


def softmax(margins: Float32s) -> Float32s:
    """Return the probabilities of classes, (n, classes)."""
    powers, sums = exponentials(margins, margins.max(axis=1, keepdims=True, initial=-np.inf))
    return powers / sums


def exponentials(margins: Float32s, shift: Float32s) -> tuple[Float32s, Float32s]:
    """Return e^(margin − shift), and its sums over the classes, (n, 1), which are added up in float64."""
    powers = exp(margins - shift)
    sums = np.zeros(len(margins))
    for column in powers.T:  # in order; NumPy would sum in pairs
        sums += column
    return powers, sums.astype(np.float32)[:, None]

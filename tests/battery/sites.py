"""The three sites of the battery: their training and evaluation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

Model = dict[str, np.ndarray]

SITES = (1, 2, 3)
CURVATURE, RATE, STEPS = {1: 1.0, 2: 2.0, 3: 4.0}, 0.1, 2
TRAINED = ("head", "w", "b", "t", "none")
FLOATS = (*TRAINED, "frozen")


def initial(size: int = 20_000) -> Model:
    """The model that every run starts from."""
    return {
        "head": np.full(size, 7.0, np.float32),
        "w": np.cos(np.arange(size, dtype=np.float32)).astype(np.float32),
        "b": np.array([0.5, -0.25, 2.0]),
        "t": np.array(0.5, np.float32),
        "none": np.zeros((0, 3), np.float32),
        "frozen": np.linspace(-1, 1, size, dtype=np.float32),
        "on": np.array([True, False]),
        "n": np.array(5),
        "u": np.array([100, 200], np.uint8),
    }


def target(site: int, shape: tuple[int, ...]) -> np.ndarray:
    """The minimum of a site's loss, curvature / 2 * (x - target)^2."""
    return np.sin(np.arange(np.prod(shape, dtype=int)) * (site + 0.5)).reshape(shape) * 2


def trained(x: Mapping[str, np.ndarray], site: int, correction: Mapping[str, np.ndarray] | None = None) -> Model:
    """Run one site's gradient descent, and update its counters."""
    y = dict(x)
    for key in TRAINED:
        for _ in range(STEPS):
            gradient = CURVATURE[site] * (y[key] - target(site, y[key].shape))
            y[key] = y[key] - RATE * (gradient + (0 if correction is None else correction[key]))
    return y | {"n": x["n"] + site, "u": x["u"] - site}


def accuracy(x: Mapping[str, np.ndarray], site: int) -> float:
    """A site's metric of the received model: higher is better."""
    return float(-np.mean((x["b"] - target(site, x["b"].shape)) ** 2))

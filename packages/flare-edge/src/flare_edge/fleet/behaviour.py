"""How simulated devices behave: when they are there, how fast they are, and when they vanish; all from one seed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Behaviour:
    """What holds for a whole fleet.

    Args:
        seed: of everything random.
        arrival_s: devices arrive for the first time within so many seconds, evenly.
        wait_s: how long a poll waits for a task.
        work_s: the median time of a task, of which devices differ by a log-normal factor.
        spread: the standard deviation of that factor's logarithm.
        churn_per_min: the share of devices that vanish in a minute, in the middle of whatever they do.
        away_s: the mean time for which they are gone, exponentially distributed.
    """

    seed: int = 0
    arrival_s: float = 10.0
    wait_s: float = 8.0
    work_s: float = 1.0
    spread: float = 1.0
    churn_per_min: float = 0.1
    away_s: float = 10.0


class Character:
    """What one device does at random; the same for the same seed and number."""

    def __init__(self, behaviour: Behaviour, number: int) -> None:
        self._behaviour = behaviour
        self._random = np.random.default_rng([behaviour.seed, number])
        self.arrives_s = float(self._random.uniform(0.0, behaviour.arrival_s))
        self._slowness = math.exp(behaviour.spread * float(self._random.standard_normal()))

    def work_s(self) -> float:
        """Return how long the next task takes."""
        return self._behaviour.work_s * self._slowness * float(self._random.uniform(0.8, 1.2))

    def stays_s(self) -> float:
        """Return when the device vanishes, from now on."""
        rate = self._behaviour.churn_per_min / 60
        return float(self._random.exponential(1 / rate)) if rate else math.inf

    def away_s(self) -> float:
        """Return how long it is gone."""
        return float(self._random.exponential(self._behaviour.away_s))

    def update(self, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> np.ndarray:
        """Return a small difference of a parameter."""
        return np.asarray(self._random.uniform(-1e-3, 1e-3, shape), dtype)

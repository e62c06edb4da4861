"""Learning-rate schedules: a factor for each round, for the server's optimizer and for scripts.

rate = 0.1 * Cosine(model.total_rounds)(model.current_round)
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

from flare_core.errors import RecipeError


class Schedule(ABC):
    """A factor on the learning rate for each round, counted from 0."""

    @abstractmethod
    def __call__(self, round_: int) -> float:
        """Return the factor of a round."""


class Exponential(Schedule):
    """``factor`` to the power of the round.

    Args:
        factor: above 0.
    """

    def __init__(self, factor: float) -> None:
        self.factor = _positive(factor, "factor")

    def __call__(self, round_: int) -> float:
        return float(self.factor**round_)


class Step(Schedule):
    """``factor`` to the power of the number of completed periods of ``every`` rounds.

    Args:
        every: number of rounds between changes.
        factor: above 0.
    """

    def __init__(self, every: int, factor: float = 0.1) -> None:
        self.every = int(_positive(every, "every"))
        self.factor = _positive(factor, "factor")

    def __call__(self, round_: int) -> float:
        return float(self.factor ** (round_ // self.every))


class Cosine(Schedule):
    """Half a cosine from 1 to ``minimum`` over ``rounds``, and constant afterwards.

    Args:
        rounds: the first round whose factor is ``minimum``.
        minimum: the last factor.

    Source: Loshchilov and Hutter 2017, arXiv:1608.03983, without restarts.
    """

    def __init__(self, rounds: int, minimum: float = 0.0) -> None:
        self.rounds = int(_positive(rounds, "rounds"))
        self.minimum = float(minimum)

    def __call__(self, round_: int) -> float:
        share = min(1.0, round_ / self.rounds)
        return self.minimum + (1 - self.minimum) * (1 + math.cos(math.pi * share)) / 2


def _positive(value: float, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise RecipeError(f"{name} of a schedule is {value!r}; give a number above 0")
    return float(value)

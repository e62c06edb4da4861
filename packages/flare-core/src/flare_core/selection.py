"""Selection by metrics: averages over the sites, the best round, and conditions to stop."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from statistics import median
from typing import Any, TypeAlias

import numpy as np

from flare_core.errors import RecipeError
from flare_core.model import FLModel
from flare_core.task import Reply

MeasuredModel: TypeAlias = tuple[FLModel, int, dict[str, float]]
"""A model, the round in which it was sent out, and the sites' averaged metrics of it."""

MODES = ("max", "min")
_OPERATORS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt, "=": operator.eq}


class MetricMean:
    """The weighted average of each metric over the sites that reported a finite number for it.

    Metrics belong to the model that the sites *received*. NaN, infinity and values that are not numbers are left out.

    Args:
        robust: use the unweighted median over the sites instead, and only of metrics that more than half of them
            reported, because a minority may report anything.

    Attributes:
        problems: messages about values that were left out.
        not_numbers: by key, a message about the first value that is not a number.
    """

    def __init__(self, *, robust: bool = False) -> None:
        self._robust = robust
        self._values: dict[str, list[float]] = {}  # for the median
        self._sums: dict[str, tuple[float, float]] = {}
        self._reported: dict[str, set[str]] = {}
        self._sites: list[str] = []
        self.problems: list[str] = []
        self.not_numbers: dict[str, str] = {}

    def add(self, reply: Reply, weight: float | None = None) -> dict[str, float]:
        """Add the metrics of a reply, and return the ones that are finite numbers."""
        weight = reply.num_steps if weight is None else weight
        self._sites.append(reply.site)
        numbers: dict[str, float] = {}
        for key, value in (reply.model.metrics or {}).items():
            number = as_number(value)
            if number is None:
                shown = repr(value) if isinstance(value, str) else f"a {type(value).__name__}"
                text = f"metric '{key}' is {shown[:60]}, not a number, and is ignored; use flare.log() to record text"
                self.not_numbers.setdefault(key, f"{reply.site}: {text}")
                continue
            self._reported.setdefault(key, set()).add(reply.site)
            if not math.isfinite(number):
                self.problems.append(f"{reply.site}: metric '{key}' is {number} and is ignored")
                continue
            numbers[key] = number
            total, weights = self._sums.get(key, (0.0, 0.0))
            self._sums[key] = (total + weight * number, weights + weight)
            if self._robust:
                self._values.setdefault(key, []).append(number)
        return numbers

    def means(self) -> dict[str, float]:
        """Return the averages by key, without keys whose total weight is zero."""
        if self._robust:
            most = {key: values for key, values in self._values.items() if 2 * len(values) > len(self._sites)}
            return {key: median(values) for key, values in most.items()}
        return {key: total / weights for key, (total, weights) in self._sums.items() if weights > 0}

    def missing(self, key: str) -> list[str]:
        """Return the sites that did not report ``key``."""
        return [site for site in self._sites if site not in self._reported.get(key, ())]

    def reported(self) -> list[str]:
        """Return all keys for which any site reported a number."""
        return sorted(self._reported)


class MeasuredModels:
    """Models that are waiting until enough sites have measured them, in whichever rounds.

    Args:
        max_age: the number of rounds after which a model is discarded.
        robust: as for :class:`MetricMean`.
    """

    def __init__(self, max_age: int, *, robust: bool = False) -> None:
        self._max_age = max_age
        self._robust = robust
        self._open: dict[int, tuple[FLModel | None, MetricMean, set[str]]] = {}

    def add(self, reply: Reply, weight: float) -> None:
        """Add the metrics that a site measured on the model that it received."""
        _, means, sites = self._open.setdefault(reply.round or 0, (reply.sent, MetricMean(robust=self._robust), set()))
        means.add(reply, weight)
        sites.add(reply.site)

    def take(self, *, needed: int, round_: int) -> list[MeasuredModel]:
        """Remove and return the models that ``needed`` sites have measured, in the order of their rounds.

        Args:
            needed: how many sites are enough.
            round_: the current round, by which old models are discarded.
        """
        taken: list[MeasuredModel] = []
        for number, (model, means, sites) in sorted(self._open.items()):
            if len(sites) >= needed and model is not None:
                taken.append((model, number, means.means()))
            if len(sites) >= needed or round_ - number >= self._max_age:
                del self._open[number]
        return taken


def as_number(value: Any) -> float | None:
    """Return a real number, or an array or tensor of one element, as a float; None for anything else."""
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.item()
    if isinstance(value, str | bytes | complex | np.complexfloating):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return None


@dataclass(slots=True)
class BestScore:
    """The best value of one metric so far, and its round.

    Attributes:
        key: the name of the metric.
        mode: ``max`` if higher is better, ``min`` if lower is.
        value: the best value; None before the first.
        round: the round of the best value; None before the first.
    Raises:
        RecipeError: ``mode`` is neither.
    """

    key: str
    mode: str = "max"
    value: float | None = None
    round: int | None = None

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise RecipeError(f"key_metric_mode is {self.mode!r}; use 'max' if higher is better, 'min' if lower is")

    def improves(self, value: float | None, round_: int) -> bool:
        """Record the value of a round, and return True if it is the best so far; NaN and None never are."""
        if value is None or not math.isfinite(value):
            return False
        if self.value is not None and (value <= self.value if self.mode == "max" else value >= self.value):
            return False
        self.value, self.round = value, round_
        return True


@dataclass(frozen=True, slots=True)
class StopCondition:
    """A condition such as ``accuracy >= 0.9`` that ends a run before its last round.

    Attributes:
        key: the name of the metric.
        symbol: one of >=, <=, >, < and =.
        target: the value to compare with.
    """

    key: str
    symbol: str
    target: float

    @classmethod
    def parse(cls, text: str) -> StopCondition:
        """Parse ``"<metric> <operator> <number>"``; operators are >=, <=, >, < and =.

        Raises:
            RecipeError: the text has a different form.
        """
        try:
            key, symbol, number = str(text).split()
            found = cls(key, symbol, float(number))
        except ValueError:
            found = None
        if found is None or found.symbol not in _OPERATORS or not math.isfinite(found.target):
            raise RecipeError(
                f"stop_cond is {text!r}; write '<metric> <operator> <number>' with one of {' '.join(_OPERATORS)},"
                " for example 'accuracy >= 0.9'"
            )
        return found

    def met(self, metrics: dict[str, float]) -> bool:
        """Return True if the averages of a round fulfil the condition; False without the metric."""
        value = metrics.get(self.key)
        return value is not None and bool(_OPERATORS[self.symbol](value, self.target))

    @property
    def mode(self) -> str:
        """The direction in which the metric improves, as implied by the operator."""
        return "min" if self.symbol in ("<", "<=") else "max"

"""The record of a simulated run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from flare_edge.fedbuff import replayed
from flare_edge.fixed_point import Array

_MAX_SAMPLES = 4000


@dataclass(frozen=True)
class VersionMade:
    """A version of the model.

    Args:
        time: in simulated seconds since the start.
        version: its number.
        count: number of updates of which it was made.
        ages: number of these updates by age.
        trained: weighted means of what devices measured while they trained.
        metrics: of the version, on data that no device has; empty if it was not evaluated.
    """

    time: float
    version: int
    count: int
    ages: Mapping[int, int]
    trained: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Target:
    """A value that a metric of the versions is to reach.

    Args:
        metric: its name.
        value: to be reached; more is better.
        updates: the mean of the metric over the last versions must reach it, as many as were made of so many updates.
            So one version that happens to be good is not enough, and methods with many small versions have no advantage
            over those with few large ones.
    """

    metric: str
    value: float
    updates: int = 1

    def is_reached(self, versions: Sequence[VersionMade]) -> bool:
        """Return whether the last versions reach it."""
        values, updates = [], 0
        for each in reversed(versions):
            if self.metric in each.metrics:
                values.append(each.metrics[self.metric])
            updates += each.count
            if updates >= self.updates:
                return bool(values) and sum(values) / len(values) >= self.value
        return False


class Samples:
    """A number over time, of which some thousand values at most are kept, at about equal distances."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.values: list[float] = []
        self._interval = 0.0

    def add(self, time: float, value: float) -> None:
        """Add a value, unless the last one kept is close by."""
        if self.times and time < self.times[-1] + self._interval:
            return
        self.times.append(time)
        self.values.append(value)
        if len(self.times) > _MAX_SAMPLES:
            self._interval = 2 * (time - self.times[0]) / _MAX_SAMPLES
            samples = list(zip(self.times, self.values, strict=True))
            self.times, self.values = [], []
            for each in samples:
                self.add(*each)


@dataclass
class History:
    """The course of a simulated run.

    Args:
        versions: those that were made, in order.
        evaluations: metrics that devices have measured, by version.
        in_flight: number of devices that work, over time.
        there: number of devices that are there, over time.
        seconds: simulated time at the end.
        wall_s: real time that the simulation took.
        check_ins: how often a device asked for work.
        orders, results, failures: numbers of orders given, results accepted and orders that failed.
        withdrawn: number of orders withdrawn before they were answered.
        dropped: number of updates that were not used, by reason.
        reached: simulated time at which the target was reached; None if it was not, or there was none.
        outcome: why the run has ended, in a sentence.
        params: of the last version.
    """

    versions: list[VersionMade] = field(default_factory=list)
    evaluations: dict[int, Mapping[str, float]] = field(default_factory=dict)
    in_flight: Samples = field(default_factory=Samples)
    there: Samples = field(default_factory=Samples)
    seconds: float = 0.0
    wall_s: float = 0.0
    check_ins: int = 0
    orders: int = 0
    results: int = 0
    failures: int = 0
    withdrawn: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    reached: float | None = None
    outcome: str = ""
    params: dict[str, Array] = field(default_factory=dict)

    @classmethod
    def of_record(cls, lines: Iterable[str]) -> Self:
        """Return the history of a recorded run, real or simulated, as far as the server knows it.

        The metrics of a version are those that devices measured who evaluated it, or else who trained for it.

        Args:
            lines: of the record, see :mod:`flare_edge.fedbuff.record`.
        Raises:
            EdgeError: the record cannot be replayed; names the line.
        """
        history = cls()
        made: list[VersionMade] = []
        for each in replayed(lines):
            time, machine, decisions = each.time, each.machine, each.decisions
            history.seconds = time
            history.in_flight.add(time, machine.working)
            history.there.add(time, machine.joined)
            history.orders += len(decisions.orders)
            history.withdrawn += len(decisions.withdrawn)
            history.evaluations.update(decisions.evaluations)
            for dropped in decisions.dropped:
                history.dropped[dropped.reason] = history.dropped.get(dropped.reason, 0) + dropped.count
            if (new := decisions.version) is not None:
                made.append(VersionMade(time, new.version, new.count, new.ages, new.metrics))
            if decisions.is_over:
                history.outcome = f"version {machine.version} is made, the last"
        measured = history.evaluations or {each.version: each.trained for each in made}
        history.versions = [replace(each, metrics=measured.get(each.version, {})) for each in made]
        return history

    @property
    def mean_age(self) -> float:
        """The mean age of the updates that were used."""
        count = sum(each.count for each in self.versions)
        total = sum(age * number for each in self.versions for age, number in each.ages.items())
        return total / count if count else 0.0

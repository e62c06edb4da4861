"""Typed events: what happens in a run, for whoever wants to show, store or react to it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

__all__ = [
    "Event",
    "EventBus",
    "MetricLogged",
    "ModelSaved",
    "RoundEnded",
    "RoundStarted",
    "RunEnded",
    "RunStarted",
    "SiteFailed",
    "SiteLeft",
    "SiteReplied",
    "SiteReturned",
    "StillWaiting",
    "TableMade",
    "WarningRaised",
]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a run."""


@dataclass(frozen=True, slots=True)
class RunStarted(Event):
    """All sites are there and the workflow begins.

    Attributes:
        job_name: the job's, not the run's.
        sites: the names of those that take part.
    """

    job_name: str
    sites: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RoundStarted(Event):
    """A round begins; rounds count from 0.

    Attributes:
        round: its number.
        total_rounds: how many the workflow plans.
    """

    round: int
    total_rounds: int


@dataclass(frozen=True, slots=True)
class SiteReplied(Event):
    """One site's reply is there; its tensors may still be at the site.

    Attributes:
        site: who replied.
        task: the name of the task.
        round: the run's present round; None outside of rounds.
        done: how many sites have replied to it, this one included.
        expected: how many were given it.
    """

    site: str
    task: str
    round: int | None
    done: int
    expected: int


@dataclass(frozen=True, slots=True)
class RoundEnded(Event):
    """A round is over; ``metrics`` are the averages over its sites.

    Attributes:
        round: its number, from 0.
        total_rounds: how many the workflow plans.
        seconds: how long it took.
        metrics: by name.
    """

    round: int
    total_rounds: int
    seconds: float
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MetricLogged(Event):
    """A number was reported: by a site, or for all of them (``site`` is None).

    Those that a script logs come when it does, those of its replies with the reply, the averages with the round's end.
    ``kind`` is one of :class:`~flare_core.client.tracking.AnalyticsDataType`; what is logged may also be a text.

    Attributes:
        key: the metric's name.
        value: a float for a number.
        round: the round in which it was reported; None outside of rounds.
        site: who reported it; None for an average.
        step: the script's own count, if it gave one.
        kind: what it is.
    """

    key: str
    value: Any
    round: int | None
    site: str | None
    step: int | None = None
    kind: str = "METRIC"


@dataclass(frozen=True, slots=True)
class ModelSaved(Event):
    """A checkpoint was chosen: ``name`` is ``global`` or ``best``.

    Attributes:
        name: which checkpoint.
        round: the round that the model belongs to; None outside of rounds.
        metric: its value of the metric that models are chosen by, if it has one.
    """

    name: str
    round: int | None
    metric: float | None = None


@dataclass(frozen=True, slots=True)
class SiteFailed(Event):
    """A site is lost to the run.

    Attributes:
        site: its name.
        error: why, for people.
    """

    site: str
    error: str


@dataclass(frozen=True, slots=True)
class SiteLeft(Event):
    """A site is not there any more, and may come back.

    Attributes:
        site: its name.
        reason: why, for people.
    """

    site: str
    reason: str


@dataclass(frozen=True, slots=True)
class SiteReturned(Event):
    """A site that was not there has come.

    Attributes:
        site: its name.
    """

    site: str


@dataclass(frozen=True, slots=True)
class TableMade(Event):
    """A result that people should see as a table; all cells are text.

    Attributes:
        title: stands above it.
        columns: their heads.
        rows: each with one cell a column.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class WarningRaised(Event):
    """Something that people should see although the run goes on.

    Attributes:
        message: whole, as it is shown.
    """

    message: str


@dataclass(frozen=True, slots=True)
class StillWaiting(Event):
    """The run waits for something, for longer than it ever did before.

    Attributes:
        what: what it waits for.
        seconds: for how long by now.
    """

    what: str
    seconds: float


@dataclass(frozen=True, slots=True)
class RunEnded(Event):
    """The run is over; ``outcome`` is a status, ``error`` what ended it."""

    outcome: str
    error: str = ""


EventT = TypeVar("EventT", bound=Event)


class EventBus:
    """Hands each event to those who asked for its type, in the order of asking, on the thread that emits.

    A handler's exception reaches the emitter: an event that could not be handled is never lost silently.
    """

    def __init__(self) -> None:
        self._handlers: dict[type[Event], list[Callable[[Any], None]]] = defaultdict(list)

    def subscribe(self, kind: type[EventT], handler: Callable[[EventT], None]) -> None:
        """Call ``handler`` with every event of ``kind``; ``Event`` stands for all."""
        self._handlers[kind].append(handler)

    def emit(self, event: Event) -> None:
        """Tell all subscribers."""
        for handler in self._handlers.get(type(event), ()):
            handler(event)
        for handler in self._handlers.get(Event, ()):
            handler(event)

"""Typed events of a run, for observers that display, store or react to them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a run."""


@dataclass(frozen=True, slots=True)
class RunStarted(Event):
    """The workflow of the job ``job_name`` starts, with ``sites`` taking part."""

    job_name: str
    sites: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RoundStarted(Event):
    """A ``round``, counted from 0, starts; the workflow plans ``total_rounds``."""

    round: int
    total_rounds: int


@dataclass(frozen=True, slots=True)
class SiteReplied(Event):
    """A reply of a site has arrived; its tensors may still be at the site.

    Attributes:
        site: the site.
        task: the name of the task.
        round: the current round of the run; None outside of rounds.
        done: number of sites that have replied to the task, including this one.
        expected: number of sites that received the task.
    """

    site: str
    task: str
    round: int | None
    done: int
    expected: int


@dataclass(frozen=True, slots=True)
class RoundEnded(Event):
    """A round has ended.

    Attributes:
        round: its number, counted from 0.
        total_rounds: number of rounds that the workflow plans.
        seconds: its duration.
        metrics: averages over the sites, by name.
    """

    round: int
    total_rounds: int
    seconds: float
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MetricLogged(Event):
    """A value was logged by a script, or reported in a reply, or averaged at the end of a round.

    Attributes:
        key: the name of the metric.
        value: a float for a number; scripts may also log text and other values.
        round: the round in which it was reported; None outside of rounds.
        site: the site that reported it; None for an average.
        step: the script's own step, if it gave one.
        kind: a member of :class:`~flare_core.client.tracking.AnalyticsDataType`.
    """

    key: str
    value: Any
    round: int | None
    site: str | None
    step: int | None = None
    kind: str = "METRIC"


@dataclass(frozen=True, slots=True)
class ModelSaved(Event):
    """A checkpoint was saved.

    Attributes:
        name: ``global`` or ``best``.
        round: the round that the model belongs to; None outside of rounds.
        metric: its value of the metric that selects the best model, if any.
    """

    name: str
    round: int | None
    metric: float | None = None


@dataclass(frozen=True, slots=True)
class SiteFailed(Event):
    """A ``site`` failed for good; ``error`` is the message."""

    site: str
    error: str


@dataclass(frozen=True, slots=True)
class SiteLeft(Event):
    """A ``site`` disconnected and may come back; ``reason`` is a message."""

    site: str
    reason: str


@dataclass(frozen=True, slots=True)
class SiteReturned(Event):
    """A ``site`` that had left, or that the run began without, connected; a first start that it waits for is none."""

    site: str


@dataclass(frozen=True, slots=True)
class TableMade(Event):
    """A result to display as a table: a ``title``, headers of the ``columns``, and ``rows`` of as many strings."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class WarningRaised(Event):
    """A ``message`` to display; the run continues."""

    message: str


@dataclass(frozen=True, slots=True)
class StillWaiting(Event):
    """The run has waited ``seconds``, longer than ever before, for ``what``."""

    what: str
    seconds: float


@dataclass(frozen=True, slots=True)
class RunEnded(Event):
    """The run has ended; ``outcome`` is its status, ``error`` the message if it failed."""

    outcome: str
    error: str = ""


EventT = TypeVar("EventT", bound=Event)


class EventBus:
    """A bus that calls the handlers of each event's type, in the order of subscription, on the emitting thread.

    An exception in a handler propagates to the emitter, so that it is never lost silently.
    """

    def __init__(self) -> None:
        self._handlers: dict[type[Event], list[Callable[[Any], None]]] = defaultdict(list)

    def subscribe(self, kind: type[EventT], handler: Callable[[EventT], None]) -> None:
        """Call ``handler`` with every event of ``kind``; ``Event`` means all events."""
        self._handlers[kind].append(handler)

    def emit(self, event: Event) -> None:
        """Call the handlers of the event's own type, then those of all events."""
        for handler in (*self._handlers.get(type(event), ()), *self._handlers.get(Event, ())):
            handler(event)

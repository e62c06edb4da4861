"""The events of a run as lines of JSON, for those who follow it from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flare_core import events as known
from flare_core.events import Event, MetricLogged, SiteReplied
from flare_core.files import naming

__all__ = ["EVENTS", "EventLog", "read_event"]

EVENTS = "events.jsonl"
_NOT_KEPT = (MetricLogged, SiteReplied)  # there can be thousands a second; metrics.jsonl has the numbers


class EventLog:
    """Appends each event to a file.

    Args:
        grew: called after each line.
    """

    def __init__(self, path: Path, grew: Callable[[], None]) -> None:
        self._path = path
        self._file = path.open("a", encoding="utf-8")
        self._grew = grew

    def write(self, event: Event) -> None:
        """Append one event."""
        if not isinstance(event, _NOT_KEPT):
            with naming(self._path):
                self._file.write(json.dumps({"event": type(event).__name__, **asdict(event)}) + "\n")
                self._file.flush()
            self._grew()


def read_event(line: str) -> Event:
    """Read a line that :class:`EventLog` has written.

    Raises:
        ValueError: it is none.
    """
    values: dict[str, Any] = json.loads(line)
    kind = getattr(known, str(values.pop("event", "")), None)
    if not (isinstance(kind, type) and issubclass(kind, Event)):
        raise ValueError(f"no event: {line!r}")
    try:
        return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})
    except TypeError as error:
        raise ValueError(f"no {kind.__name__}: {line!r}") from error

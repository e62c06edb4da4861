"""The record of a run while it goes on: events.jsonl has every event, metrics.jsonl the numbers alone.

Each line of events.jsonl is a JSON object: ``seq``, ``time`` in seconds of the epoch, ``event`` (the name of its class
in :mod:`flare_core.events`), ``round`` (null outside of rounds) and the event's own values. Sequence numbers grow from
line to line, and one is never used twice in a run: lines that are cut off take theirs with them. So a reader who knows
the last number it has seen can go on from there, whatever happened to the file meanwhile.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from flare_core import events as known
from flare_core.events import (
    Event,
    MetricLogged,
    RoundEnded,
    RoundStarted,
    RunEnded,
    RunStarted,
    SiteFailed,
    SiteLeft,
)
from flare_runtime.run.folder import RunFolder
from flare_runtime.run.record import LineFile, number_of

EVENTS = "events.jsonl"
_WRITTEN_OUT = (RunStarted, RoundEnded, SiteFailed, SiteLeft, RunEnded)  # the others stay in the buffer until then
_SEQ = b'{"seq": '


class EventLog:
    """Writes events.jsonl and metrics.jsonl of one run.

    Lines are buffered, and written out at the ends of rounds, when a site is lost, and by :meth:`flush`. Thread-safe.

    Attributes:
        grew: called after each event.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.grew: Callable[[], None] = lambda: None
        self._path = folder.path / EVENTS
        self._file = LineFile(self._path)
        self._metrics = LineFile(folder.metrics)
        self._lock = threading.Lock()
        self._seq = 0
        self._round: int | None = None
        self._is_over = False
        self._is_closed = False

    def write(self, event: Event) -> None:
        """Append one event; after the end of the run, nothing."""
        with self._lock:
            if self._is_over:
                return
            self._is_over = isinstance(event, RunEnded)
            if isinstance(event, MetricLogged):
                row = {"round": event.round, "site": event.site, "key": event.key, "value": event.value}
                self._metrics.write(row if event.step is None else {**row, "step": event.step})
            if isinstance(event, RoundStarted):
                self._round = event.round
            self._append(event, time.time())
            if isinstance(event, RoundEnded):
                self._round = None
        if isinstance(event, _WRITTEN_OUT):
            self.flush()
        self.grew()

    def _append(self, event: Event, moment: float) -> None:
        self._seq += 1
        kind = type(event)
        row = {"seq": self._seq, "time": moment, "event": kind.__name__, "round": self._round}
        self._file.write(row | {name: getattr(event, name) for name in _names(kind)})

    def flush(self) -> dict[str, int]:
        """Hand what was written to the operating system; return the lengths of both files, for :meth:`cut`."""
        with self._lock:
            return {} if self._is_closed else {"events": self._file.flush(), "metrics": self._metrics.flush()}

    def cut(self, lengths: Mapping[str, Any]) -> None:
        """Forget what came after the last state was kept, in a run that is continued after a crash.

        Args:
            lengths: what :meth:`flush` returned before that, and whether it was ``in_round``; without them, all is
                forgotten. The end of a completed round, which is announced afterwards, stays, or is added if the
                crash came between.
        """
        self.cut_metrics(lengths)
        kept, position = int(lengths.get("events", 0)), 0
        begun: RoundStarted | None = None
        means: dict[str, float] = {}
        moment = 0.0
        for line in _complete_lines(self._path):
            self._seq = seq_of(line)
            is_kept = position + len(line) <= kept
            if is_kept or position == kept:
                event = read_event(line)
                if isinstance(event, RoundEnded) and begun is not None:
                    begun, kept, is_kept = None, max(kept, position + len(line)), True
                elif is_kept and isinstance(event, RoundStarted):
                    begun, means = event, {}
                elif is_kept and isinstance(event, MetricLogged) and event.site is None:
                    means[event.key] = event.value
            moment = json.loads(line)["time"] if is_kept else moment
            position += len(line)
        self._file.cut(kept)
        if begun is not None and not lengths.get("in_round"):
            self._append(RoundEnded(begun.round, begun.total_rounds, 0.0, means), moment)

    def cut_metrics(self, lengths: Mapping[str, Any]) -> None:
        """Forget the numbers of a round that begins again; that it does is part of the run's events."""
        self._metrics.cut(int(lengths.get("metrics", 0)))

    def close(self) -> None:
        """Write out what is buffered."""
        with self._lock:
            self._is_over = self._is_closed = True
            try:
                self._file.close()
            finally:
                self._metrics.close()


def read_event(line: str | bytes) -> Event:
    """Read a line that :class:`EventLog` has written.

    Raises:
        ValueError: it is no event.
    """
    values: dict[str, Any] = json.loads(line)
    kind = getattr(known, str(values.get("event", "")), None)
    if not (isinstance(kind, type) and issubclass(kind, Event)):
        raise ValueError(f"no event: {line!r}")
    try:
        return kind(**{name: _restored(values[name]) for name in _names(kind)})
    except KeyError as error:
        raise ValueError(f"no {kind.__name__}: {line!r}") from error


def read_events(path: Path) -> Iterator[Event]:
    """Yield the events of a file; a line that a crash cut short is left out."""
    return map(read_event, _complete_lines(path))


def seq_of(line: bytes) -> int:
    """The sequence number of a line; 0 if it is none of an :class:`EventLog`."""
    digits = line[len(_SEQ) : line.find(b",")]
    return int(digits) if line.startswith(_SEQ) and digits.isdigit() else 0


def read_lines(path: Path, after: int, offset: int, size: int) -> tuple[bytes, int]:
    """Read whole lines of a file that may be cut and written to meanwhile.

    Args:
        path: of events.jsonl.
        after: the last sequence number that the reader has seen.
        offset: where the following line is if the file was not cut.
        size: how many bytes to read at most; more only for a single line that is longer.
    Returns:
        The lines that follow, empty if there are none yet, and the offset after them.
    """
    if not path.is_file():
        return b"", 0
    with path.open("rb") as file:
        file.seek(offset)
        first = file.readline()
        if seq_of(first) != after + 1:
            offset = 0
            file.seek(offset)
            while (first := file.readline()).endswith(b"\n") and seq_of(first) <= after:
                offset += len(first)
        content = first + file.read(max(0, size - len(first)))
    content = content[: content.rfind(b"\n") + 1]
    return content, offset + len(content)


def _complete_lines(path: Path) -> Iterator[bytes]:
    if not path.is_file():
        return
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield line


def _names(kind: type[Event]) -> tuple[str, ...]:
    """Return the names of an event's values."""
    return kind.__match_args__


def _restored(value: Any) -> Any:
    """A value as it was before it became JSON."""
    if isinstance(value, list):
        return tuple(map(_restored, value))
    if isinstance(value, dict):
        return {key: _restored(each) for key, each in value.items()}
    return number_of(value)

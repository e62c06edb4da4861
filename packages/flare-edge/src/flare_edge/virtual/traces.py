"""Trace files: devices as they were observed.

A trace is a CSV file with a header. Each row is a session of a device, from ``start_s`` to ``end_s`` in seconds since
the start of the trace::

    device,gateway,start_s,end_s,train_s,bytes_per_s
    phone-a,gateway-1,0,3600,41.5,250000
    phone-a,gateway-1,7200,9000,,
    phone-b,gateway-2,600,90000,112,

``device``, ``start_s`` and ``end_s`` are needed. ``gateway`` is ``gateway-1`` where it is left out; ``train_s`` (60
where left out) and ``bytes_per_s`` (unlimited where left out) are those of the device's first row that has them.

The record of a run, see :mod:`flare_edge.fedbuff.record`, is a trace, too: when devices joined and left, and how long
each order took, from the server's point of view.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from flare_edge.errors import EdgeError
from flare_edge.fedbuff import replayed
from flare_edge.virtual.fleet import Device

_NEEDED = ("device", "start_s", "end_s")
_OPTIONAL = ("gateway", "train_s", "bytes_per_s")


def read_trace(path: Path, *, seed: int = 0) -> list[Device]:
    """Return the devices of a trace file, in the order in which it names them.

    Args:
        path: the CSV file.
        seed: of what the trace does not say.
    Raises:
        EdgeError: a column is missing or unknown, a value is no number, or sessions of a device overlap.
    """
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        header = list(reader.fieldnames or ())
        missing = [name for name in _NEEDED if name not in header]
        unknown = [name for name in header if name not in (*_NEEDED, *_OPTIONAL)]
        if missing or unknown:
            problem = f"lacks the column {missing[0]!r}" if missing else f"has an unknown column {unknown[0]!r}"
            raise EdgeError(f"{path} {problem}; columns are {', '.join((*_NEEDED, *_OPTIONAL))}")
        rows = [(reader.line_num, row) for row in reader]
    devices: dict[str, _Seen] = {}
    for line, row in rows:
        gateway = row.get("gateway") or "gateway-1"
        seen = devices.setdefault(f"{gateway}/{row['device']}", _Seen(gateway))
        where = f"{path}, line {line}"
        start, end = (_number(where, name, row[name]) for name in ("start_s", "end_s"))
        if not (seen.sessions[-1][1] if seen.sessions else 0.0) <= start < end:
            raise EdgeError(
                f"{where}: a session from {start:g} to {end:g} s; a device's sessions must follow each other"
            )
        seen.sessions.append((start, end))
        if row.get("train_s") and seen.train_s is None:
            seen.train_s = _number(where, "train_s", row["train_s"], above=0.0)
        if row.get("bytes_per_s") and seen.bytes_per_s is None:
            seen.bytes_per_s = _number(where, "bytes_per_s", row["bytes_per_s"], above=0.0)
    if not devices:
        raise EdgeError(f"{path} holds no session")
    return [seen.device(name, seed) for name, seen in devices.items()]


def read_record(lines: Iterable[str], *, seed: int = 0) -> list[Device]:
    """Return the devices of a recorded run, real or simulated, in the order in which they joined.

    A simulation of this fleet with the run's seed and settings, but an ``update_timeout`` of 0, makes the same
    decisions: the times in the record are those at which results came to the server. With other settings, it shows what
    they would have changed.

    Args:
        lines: of the record, with times.
        seed: of what the record does not say.
    Raises:
        EdgeError: the record cannot be replayed; names the line.
    """
    devices: dict[str, _Recorded] = {}
    given: dict[int, tuple[str, int, float]] = {}  # by ticket: device, number of its order, and when
    for step in replayed(lines):
        time = step.time
        for each in step.inputs:
            if each["call"] == "join":
                for device in each["devices"]:
                    devices.setdefault(device, _Recorded(each["gateway"])).come(time)
            elif each["call"] == "leave":
                for device in each["devices"] or ():
                    devices[device].go(time)
            elif each["call"] == "merge":
                outcomes = [(ticket, True) for ticket in each["batch"]["done"]]
                outcomes += [(int(ticket), False) for ticket in each["batch"]["failed"]]
                for ticket, succeeded in outcomes:
                    if ticket in given:
                        device, number, when = given.pop(ticket)
                        devices[device].observed[number] = (round(time - when, 6), succeeded)
        for order in step.decisions.orders:
            observed = devices.setdefault(order.device, _Recorded(order.gateway)).observed
            given[order.ticket] = (order.device, len(observed), time)
            observed.append((math.inf, True))
    return [recorded.device(name, seed) for name, recorded in devices.items()]


@dataclass
class _Recorded:
    """A device of a record."""

    gateway: str
    sessions: list[tuple[float, float]] = field(default_factory=list)
    observed: list[tuple[float, bool]] = field(default_factory=list)

    def come(self, time: float) -> None:
        if not self.sessions or self.sessions[-1][1] < math.inf:
            self.sessions.append((time, math.inf))

    def go(self, time: float) -> None:
        if self.sessions and self.sessions[-1][1] == math.inf:
            self.sessions[-1] = (self.sessions[-1][0], time)

    def device(self, name: str, seed: int) -> Device:
        seconds = [each for each, succeeded in self.observed if succeeded and each < math.inf]
        train_s = median(seconds) if seconds else 60.0
        sessions, observed = tuple(self.sessions), tuple(self.observed)
        return Device(name, self.gateway, train_s, presence=sessions, seed=seed, observed=observed)


@dataclass
class _Seen:
    """The rows of a device."""

    gateway: str
    sessions: list[tuple[float, float]] = field(default_factory=list)
    train_s: float | None = None
    bytes_per_s: float | None = None

    def device(self, name: str, seed: int) -> Device:
        train_s = 60.0 if self.train_s is None else self.train_s
        bytes_per_s = math.inf if self.bytes_per_s is None else self.bytes_per_s
        return Device(name, self.gateway, train_s, bytes_per_s, presence=tuple(self.sessions), seed=seed)


def _number(where: str, name: str, text: str | None, *, above: float = -math.inf) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not above < value < math.inf:
        limit = "" if above == -math.inf else f" above {above:g}"
        raise EdgeError(f"{where}: {name} is {text!r}; give a number{limit}")
    return value

"""Records the inputs of a run, and replays them.

A record is a text of JSON lines: first the settings and the seed, then one line for each call, with its arguments but
without arrays, and the decisions for each call of ``decide``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any, TextIO

from flare_edge.errors import EdgeError
from flare_edge.fedbuff.decisions import Decisions
from flare_edge.fedbuff.machine import FedBuff
from flare_edge.fedbuff.settings import FedBuffSettings
from flare_edge.messages import Batch, Order


class RecordedFedBuff(FedBuff):
    """A FedBuff that writes a line for each input, from :meth:`begin_record` on."""

    _record: TextIO | None = None
    _clock: Callable[[], float]

    def begin_record(self, record: TextIO, clock: Callable[[], float] | None = None) -> None:
        """Write the first line, and all further inputs.

        A machine that goes on from a kept state can continue the record of its earlier life.

        Args:
            record: a text stream; the caller closes it.
            clock: returns seconds, which are written as ``t``; None for the seconds since now.
        """
        start = time.monotonic()
        self._record, self._clock = record, clock or (lambda: time.monotonic() - start)
        self._write("begin", settings=self.settings.as_data(), seed=self.seed, state=_without_arrays(self.state()))

    def join(self, gateway: str, devices: Iterable[str]) -> None:
        devices = list(devices)
        super().join(gateway, devices)
        self._write("join", gateway=gateway, devices=devices)

    def leave(self, gateway: str, devices: Iterable[str] | None = None) -> None:
        devices = None if devices is None else list(devices)
        super().leave(gateway, devices)
        self._write("leave", gateway=gateway, devices=devices)

    def merge(self, batch: Batch) -> bool:
        is_new = super().merge(batch)
        self._write("merge", batch=_without_arrays(batch.as_data()))
        return is_new

    def expire(self, tickets: Iterable[int]) -> None:
        tickets = list(tickets)
        super().expire(tickets)
        self._write("expire", tickets=tickets)

    def adopt(self, gateway: str, orders: Sequence[Order], answered: Sequence[Order] = ()) -> list[Order]:
        given_again = super().adopt(gateway, orders, answered)
        named = {"orders": [astuple(order) for order in orders], "answered": [astuple(order) for order in answered]}
        self._write("adopt", gateway=gateway, **named)
        return given_again

    def begin_life(self) -> None:
        super().begin_life()
        self._write("begin_life")

    def decide(self) -> Decisions:
        decisions = super().decide()
        self._write("decide", decisions=decisions.as_data())
        return decisions

    def _write(self, call: str, **values: Any) -> None:
        if self._record is not None:
            line = {"call": call, "t": round(self._clock(), 6), **values}
            self._record.write(json.dumps(line, separators=(",", ":")) + "\n")


def replay(lines: Iterable[str]) -> int:
    """Give the inputs of a record to a new machine, and compare its decisions with the recorded ones.

    Args:
        lines: of the record.
    Returns:
        The number of decisions compared.
    Raises:
        EdgeError: a decision differs, or the record is no record; names the line.
    """
    return sum(1 for _ in replayed(lines))


@dataclass(frozen=True)
class Replayed:
    """A call of ``decide`` in a record.

    Args:
        time: in seconds since the start of the record; those between two lives of a server do not count.
        inputs: the calls since the last one, as in the record.
        machine: the machine that has decided; it changes with the next call.
        decisions: what it has decided.
    """

    time: float
    inputs: Sequence[Mapping[str, Any]]
    machine: FedBuff
    decisions: Decisions


def replayed(lines: Iterable[str]) -> Iterator[Replayed]:
    """Do as :func:`replay`, and yield each decision.

    Args:
        lines: of the record.
    Raises:
        EdgeError: a decision differs, or the record is no record; names the line.
    """
    machine: FedBuff | None = None
    inputs: list[dict[str, Any]] = []
    offset = now = 0.0
    for number, line in enumerate(lines, 1):
        try:
            values = json.loads(line)
            call, seconds = values.pop("call"), float(values.pop("t"))
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise EdgeError(
                f"line {number} of the record is no JSON object with 'call' and 't': {line[:80]!r}"
            ) from error
        if call == "begin":
            settings = FedBuffSettings.from_data(values["settings"])
            machine = FedBuff.restored(settings, values["seed"], values["state"])
            offset = now - seconds
            continue
        if machine is None:
            raise EdgeError(f"line {number} of the record is {call!r}; a record begins with 'begin'")
        found = _call(machine, call, values, number)
        if found is not None:
            _compare(values["decisions"], json.loads(json.dumps(found.as_data())), number)
            now = round(offset + seconds, 6)
            yield Replayed(now, inputs, machine, found)
            inputs = []
        else:
            inputs.append({"call": call, **values})


def _call(machine: FedBuff, call: str, values: dict[str, Any], number: int) -> Decisions | None:
    match call:
        case "join":
            machine.join(values["gateway"], values["devices"])
        case "leave":
            machine.leave(values["gateway"], values["devices"])
        case "merge":
            machine.merge(Batch.from_data(values["batch"]))
        case "expire":
            machine.expire(values["tickets"])
        case "adopt":
            orders, answered = ([Order(*fields) for fields in values[name]] for name in ("orders", "answered"))
            machine.adopt(values["gateway"], orders, answered)
        case "begin_life":
            machine.begin_life()
        case "decide":
            return machine.decide()
        case _:
            raise EdgeError(f"line {number} of the record is {call!r}, which is no input")
    return None


def _compare(expected: dict[str, Any], found: dict[str, Any], number: int) -> None:
    for name in expected.keys() | found.keys():
        if expected.get(name) != found.get(name):
            raise EdgeError(
                f"line {number} of the record: {name} were decided to be {expected.get(name)!r:.200},"
                f" but now {found.get(name)!r:.200}"
            )


def _without_arrays(data: Any) -> Any:
    """Return nested dicts with every ``total`` emptied."""
    if isinstance(data, dict):
        return {name: {} if name == "total" else _without_arrays(value) for name, value in data.items()}
    return data

"""Records of a gateway's journal: of results, and what they mean after a restart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flare_edge.device.safetensors import loads
from flare_edge.errors import EdgeError
from flare_edge.gateway.journal import Record
from flare_edge.gateway.pending import Pending
from flare_edge.gateway.results import Result
from flare_edge.messages import Batch, Order

Encode = Callable[[Result], Mapping[str, Any] | None]


@dataclass
class Restored:
    """The state of a gateway before its restart.

    Args:
        number: of its last batch.
        last: by device, ticket and digest of its last result.
        tickets: by device, the newest ticket that the journal knows.
        batches: those that are not acknowledged, by number.
        results: those that are in no batch.
        answered: orders whose results are not acknowledged, by ticket.
    """

    number: int
    last: dict[str, tuple[int, str]]
    tickets: dict[str, int] = field(default_factory=dict)
    batches: dict[int, Batch] = field(default_factory=dict)
    results: dict[int, tuple[Order, Result]] = field(default_factory=dict)
    answered: dict[int, Order] = field(default_factory=dict)


def record_of(order: Order, result: Result) -> Record:
    """Return the record of a result."""
    header = {
        "kind": "failed" if result.kind == "failed" else "result",
        "ticket": order.ticket,
        "device": order.device,
        "digest": result.digest,
        "order": order.kind,
        "version": order.version,
        "weight": result.weight,
        "metrics": dict(result.metrics or {}),
        "reason": result.reason,
    }
    return Record(header, result.body)


def restored(
    records: Iterable[Record],
    gateway: str,
    acknowledged: int,
    last_results: Mapping[str, tuple[int, str]],
    encode: Encode,
) -> Restored:
    """Return what a journal's records say.

    Args:
        records: in their order.
        gateway: the leaf's name.
        acknowledged: the number of the last acknowledged batch.
        last_results: of devices, up to that batch.
        encode: puts a result's update into fixed point.
    Raises:
        EdgeError: results of a batch are missing.
    """
    state = Restored(acknowledged, dict(last_results))
    for record in records:
        if record.header["kind"] == "batch":
            _add_batch(state, record.header, gateway, acknowledged, encode)
            continue
        order, result = _result_of(record, gateway)
        state.results[order.ticket] = order, result
        state.answered[order.ticket] = order
        state.last[order.device] = max(state.last.get(order.device, (0, "")), (order.ticket, result.digest))
    for device, (ticket, _) in state.last.items():
        state.tickets[device] = max(ticket, state.tickets.get(device, 0))
    return state


def _add_batch(state: Restored, header: Mapping[str, Any], gateway: str, acknowledged: int, encode: Encode) -> None:
    number, done = header["number"], header["done"]
    failed = {int(ticket): str(reason) for ticket, reason in header["failed"].items()}
    found = [state.results.pop(ticket) for ticket in done if ticket in state.results]
    for ticket in failed:
        state.results.pop(ticket, None)
    for device, ticket in header["devices"].items():
        state.tickets[device] = max(ticket, state.tickets.get(device, 0))
    state.number = max(state.number, number)
    if number <= acknowledged:
        for ticket in (*done, *failed):
            state.answered.pop(ticket, None)
        return
    if len(found) != len(done):
        raise EdgeError(f"the journal of {gateway} lacks results of batch {number}: restore it from a backup")
    state.batches[number] = _batch_of(gateway, number, found, failed, encode)


def _batch_of(
    gateway: str,
    number: int,
    results: Sequence[tuple[Order, Result]],
    failed: Mapping[int, str],
    encode: Encode,
) -> Batch:
    parts = Pending(0.0)
    for order, result in results:
        parts.add(order, result, encode(result), 0.0)
    for ticket, reason in failed.items():
        parts.fail(ticket, reason, 0.0)
    batch = parts.take({gateway: number}, 0.0, ())
    if batch is None:
        raise EdgeError(f"the journal of {gateway} has an empty batch {number}: restore it from a backup")
    return batch


def _result_of(record: Record, gateway: str) -> tuple[Order, Result]:
    """Return what :func:`record_of` wrote down."""
    header = record.header
    order = Order(header["ticket"], gateway, header["device"], header["version"], header["order"])
    kind = "failed" if header["kind"] == "failed" else order.kind
    update = loads(record.body)[0] if kind == "train" else None
    result = Result(kind, header["digest"], header["weight"], header["metrics"], update, record.body, header["reason"])
    return order, result

"""The messages between a node of the tree and its parent.

Leaves are gateways, to which devices connect; inner nodes merge what their children report; the root is the server. A
child reports devices and sums upwards, and reads orders downwards. Messages travel as plain dicts, see ``as_data``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

Int64s = Mapping[str, np.ndarray[Any, np.dtype[np.int64]]]


@dataclass(frozen=True)
class Order:
    """A device is to work on a version of the model.

    Args:
        ticket: the order's number, unique in the run; a device's result counts once for it.
        gateway: the leaf to which the device is connected.
        device: the device's id, unique in the run.
        version: the version of the model.
        kind: ``train`` or ``evaluate``.
    """

    ticket: int
    gateway: str
    device: str
    version: int
    kind: str = "train"

    def as_data(self) -> list[Any]:
        """Return the order as a list of its fields, as an endpoint sends it."""
        return [self.ticket, self.gateway, self.device, self.version, self.kind]

    @classmethod
    def from_data(cls, data: Sequence[Any]) -> Self:
        """Return the order that :meth:`as_data` wrote."""
        ticket, gateway, device, version, kind = data
        return cls(int(ticket), str(gateway), str(device), int(version), str(kind))


@dataclass(frozen=True)
class VersionSum:
    """The sum of devices' updates that were trained from one version of the model.

    Args:
        total: sums of ``weight * update`` by parameter, as fixed-point numbers; see :mod:`flare_edge.fixed_point`.
        weight: the sum of the updates' integer weights.
        count: the number of updates.
        metrics: sums of ``weight * value``, and of the weights, of what devices measured, by name.
    """

    total: Int64s
    weight: int
    count: int
    metrics: Mapping[str, tuple[float, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Batch:
    """A report of a node to its parent; counted as a whole or not at all.

    Args:
        leaves: by leaf, the number of its last batch in here. A leaf numbers its batches from 1, without a gap.
        sums: by version.
        done: tickets whose results are in ``sums``.
        failed: tickets without a result, with the reasons.
    """

    leaves: Mapping[str, int]
    sums: Mapping[int, VersionSum]
    done: Sequence[int]
    failed: Mapping[int, str] = field(default_factory=dict)

    def as_data(self) -> dict[str, Any]:
        """Return the batch as nested dicts and arrays, as an endpoint sends them."""
        return {
            "leaves": dict(self.leaves),
            "sums": {
                str(version): {
                    "total": dict(each.total),
                    "weight": each.weight,
                    "count": each.count,
                    "metrics": {name: list(pair) for name, pair in each.metrics.items()},
                }
                for version, each in self.sums.items()
            },
            "done": list(self.done),
            "failed": {str(ticket): reason for ticket, reason in self.failed.items()},
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """Return the batch that :meth:`as_data` wrote."""
        sums = {
            int(version): VersionSum(
                each["total"],
                int(each["weight"]),
                int(each["count"]),
                {name: (float(total), int(weight)) for name, (total, weight) in each["metrics"].items()},
            )
            for version, each in data["sums"].items()
        }
        failed = {int(ticket): str(reason) for ticket, reason in data["failed"].items()}
        return cls(dict(data["leaves"]), sums, [int(ticket) for ticket in data["done"]], failed)

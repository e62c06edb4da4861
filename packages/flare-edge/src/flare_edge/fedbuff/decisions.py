"""The decisions of :class:`~flare_edge.fedbuff.FedBuff`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from flare_edge.messages import Order, VersionSum


@dataclass(frozen=True)
class NewVersion:
    """A version of the model, made of updates of earlier ones; see :func:`~flare_edge.fedbuff.combined`.

    Args:
        version: its number.
        sums: the updates, by the version from which they were trained.
        factors: by the same versions, the factor on their updates; 1 without discount of stale ones.
        metrics: weighted means of what devices measured while they trained.
    """

    version: int
    sums: Mapping[int, VersionSum]
    factors: Mapping[int, float]
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """The number of updates."""
        return sum(each.count for each in self.sums.values())

    @property
    def ages(self) -> dict[int, int]:
        """The number of updates by age: the number of versions that were made since their own."""
        return {self.version - 1 - version: each.count for version, each in self.sums.items()}


@dataclass(frozen=True)
class Dropped:
    """Updates that were not used.

    Args:
        version: from which they were trained.
        count: number of updates.
        reason: ``late``, the version is no longer kept; or ``unexpected``, they are not those of open orders.
    """

    version: int
    count: int
    reason: str


@dataclass(frozen=True)
class Decisions:
    """The decisions that follow from the inputs so far.

    Args:
        orders: to hand out, for the newest version.
        withdrawn: tickets whose devices may stop.
        version: a new version, which the orders are for; None if none was made.
        dropped: updates that were not used since the last decisions.
        evaluations: metrics of versions that devices have evaluated, complete.
        is_over: the last version was made and evaluated; no more orders follow.
    """

    orders: Sequence[Order] = ()
    withdrawn: Sequence[int] = ()
    version: NewVersion | None = None
    dropped: Sequence[Dropped] = ()
    evaluations: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    is_over: bool = False

    def as_data(self) -> dict[str, Any]:
        """Return the decisions without updates, as JSON values; equal for equal decisions."""
        version = self.version
        return {
            "orders": [asdict(order) for order in self.orders],
            "withdrawn": list(self.withdrawn),
            "version": None
            if version is None
            else {
                "version": version.version,
                "sums": {str(each): [part.count, part.weight] for each, part in sorted(version.sums.items())},
                "factors": {str(each): factor for each, factor in sorted(version.factors.items())},
                "metrics": dict(sorted(version.metrics.items())),
            },
            "dropped": [asdict(each) for each in self.dropped],
            "evaluations": {str(each): dict(sorted(of.items())) for each, of in sorted(self.evaluations.items())},
            "is_over": self.is_over,
        }

"""Sum filters: what a gateway's sums pass before they leave the site, such as masks of secure aggregation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace

from flare_edge.messages import Batch, VersionSum


class SumFilter(ABC):
    """Changes the sums of a gateway before they leave its site.

    Sums are int64, so masks that cancel in the sum over gateways leave it exact. They do cancel if each gateway reports
    once for a version: in synchronous rounds, with an ``update_timeout`` longer than a round.
    """

    @abstractmethod
    def process(self, version: int, each: VersionSum, gateway: str, number: int) -> VersionSum:
        """Return the sum that leaves the site.

        Args:
            version: of the model, from which the devices have trained.
            each: the sum; its arrays must not be changed.
            gateway: the gateway's name.
            number: of its batch. A batch may be sent again, and must then be the same.
        """


def filtered(batch: Batch, filters: Sequence[SumFilter], gateway: str) -> Batch:
    """Return a gateway's batch after its sums of updates have passed all filters, one after the other."""
    sums = dict(batch.sums)
    for each in filters:
        sums = {
            version: each.process(version, found, gateway, batch.leaves[gateway]) if found.count else found
            for version, found in sums.items()
        }
    return replace(batch, sums=sums) if filters else batch

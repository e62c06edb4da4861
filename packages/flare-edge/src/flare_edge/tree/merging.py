"""Merge batches exactly: sums of integers do not depend on order or grouping."""

from __future__ import annotations

from collections.abc import Sequence

from flare_edge.fedbuff import add_sum
from flare_edge.messages import Batch, VersionSum


def merged(batches: Sequence[Batch]) -> Batch:
    """Return one batch that counts as all of them; those of one leaf must be in the order of their numbers."""
    if len(batches) == 1:
        return batches[0]
    leaves: dict[str, int] = {}
    sums: dict[int, VersionSum] = {}
    done: list[int] = []
    failed: dict[int, str] = {}
    for batch in batches:
        leaves |= batch.leaves
        done += batch.done
        failed |= batch.failed
        for version, each in batch.sums.items():
            sums[version] = add_sum(sums.get(version), each)
    return Batch(leaves, sums, done, failed)

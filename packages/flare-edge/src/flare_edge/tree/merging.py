"""Merge batches exactly: sums of integers do not depend on order or grouping."""

from __future__ import annotations

from collections.abc import Sequence

from flare_edge.fixed_point import add
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
            sums[version] = each if version not in sums else merged_sum(sums[version], each)
    return Batch(leaves, sums, done, failed)


def merged_sum(first: VersionSum, second: VersionSum) -> VersionSum:
    """Return the sum of two sums of one version."""
    total = {name: value.copy() for name, value in first.total.items()}
    if second.total:
        if total:
            add(total, second.total)
        else:  # the first has metrics of evaluations alone
            total = {name: value.copy() for name, value in second.total.items()}
    metrics = dict(first.metrics)
    for name, (value, weight) in second.metrics.items():
        before = metrics.get(name, (0.0, 0))
        metrics[name] = (before[0] + value, before[1] + weight)
    return VersionSum(total, first.weight + second.weight, first.count + second.count, metrics)

"""Histograms that the server adds up without seeing a gradient, and whose rows the label owner cannot tell.

The label owner L has a pair of int64 for each row; a feature owner F knows the bin of each row; the server S adds up.
For each tree L draws 32 bytes and sends them to F, sealed. From them, and from the secret that they share, both derive
for each step of the tree and each feature of F: a permutation of the rows of the nodes that are counted, two uniform
uint64 for each of these rows, its masks, and a permutation of the groups. A group is a node and a bin, or a node and
missing. Then, modulo 2**64:

    L -> S   for each feature, the pairs in the order of the permutation, plus the masks
    F -> S   for each feature, in the same order, the permuted number of the group of each row; and a seed
    F -> L   the sums of the masks of each group, plus numbers that the seed determines (sealed: S cannot read it)
    S -> L   the sums of what L sent, by group, plus the same numbers

L subtracts, and has the sums of pairs by node and bin.

Masks and permutations are new in each step and for each feature: with the same masks, S would find a row of one feature
again in another. The seed's numbers, which L does not know, hide the sums of masks: L knows each mask, so from their
sum it could find out which rows are in a group, of a small one by trying, of all by linear equations.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from numpy.typing import NDArray

from flare_xgb._jit import kernel
from flare_xgb.engine.binned import BinnedMatrix
from flare_xgb.engine.threads import Threads
from flare_xgb.vertical.sealing import Channel, stream

SEED_BYTES = 32
Words = NDArray[np.uint64]


@dataclass(frozen=True)
class GroupedRows:
    """The groups of a feature owner's rows in one step.

    Args:
        groups: of each feature, the group of each row in the order of the permutation.
        sizes: the number of groups of each feature.
        sums: uint64 [groups of all features, 2], sums of masks, hidden by the seed's numbers.
        seed: 32 bytes, for the server alone.
    """

    groups: list[NDArray[np.unsignedinteger]]
    sizes: list[int]
    sums: Words
    seed: bytes


class TreeSecrets:
    """Masks, permutations and numbers of groups that the label owner and a feature owner share for one tree.

    Args:
        channel: between the two.
        seed: 32 bytes of the tree, never used for another.
        bins: the number of bins of each feature.
        threads: shares the features.
    """

    def __init__(self, channel: Channel, seed: bytes, bins: Sequence[int], threads: Threads) -> None:
        self._key = channel.key(b"tree" + seed)
        self._bins = [int(size) for size in bins]
        self._threads = threads

    def _derived(self, *label: Any) -> bytes:
        return HKDFExpand(SHA256(), SEED_BYTES, " ".join(map(str, label)).encode()).derive(self._key)

    def _order(self, step: int, feature: int, rows: int) -> NDArray[np.int64]:
        return _permutation(stream(self._derived("rows", step, feature), rows))

    def _masks(self, step: int, feature: int, rows: int) -> Words:
        return stream(self._derived("masks", step, feature), 2 * rows).reshape(rows, 2)

    def _numbers(self, step: int, feature: int, nodes: int) -> NDArray[np.int64]:
        """Return the group of each node and bin, and of each node and missing, [nodes * (bins + 1)]."""
        return _permutation(stream(self._derived("groups", step, feature), nodes * (self._bins[feature] + 1)))

    def mask(self, step: int, nodes: Sequence[NDArray[np.int32]], pairs: NDArray[np.int64]) -> Words:
        """Return for the server, for each feature, the pairs in its order, masked.

        Args:
            step: the number of the step, never used twice for one tree.
            nodes: the rows of each node that is counted.
            pairs: int64 [all rows, 2].
        Returns:
            uint64 [features, rows of these nodes, 2].
        """
        rows = np.concatenate(nodes)
        wanted = pairs.view(np.uint64)[rows]
        out = np.empty((len(self._bins), len(rows), 2), np.uint64)

        def add(at: int) -> None:
            np.add(wanted[self._order(step, at, len(rows))], self._masks(step, at, len(rows)), out=out[at])

        self._threads.map(add, range(len(self._bins)))
        return out

    def group(self, step: int, nodes: Sequence[NDArray[np.int32]], binned: BinnedMatrix) -> GroupedRows:
        """Return the groups of the rows of some nodes.

        Args:
            step, nodes: as for :meth:`mask`.
            binned: the bins of all rows.
        """
        rows = np.concatenate(nodes)
        places = np.repeat(np.arange(len(nodes)), [len(each) for each in nodes])

        def of_feature(at: int) -> tuple[NDArray[np.unsignedinteger], Words]:
            numbers = self._numbers(step, at, len(nodes))
            order, masks = self._order(step, at, len(rows)), self._masks(step, at, len(rows))
            groups = np.empty(len(rows), np.min_scalar_type(len(numbers) - 1))
            sums = np.zeros((len(numbers), 2), np.uint64)
            _group(order, rows, places, binned.codes, at, self._bins[at], numbers, masks, groups, sums)
            return groups, sums

        found = self._threads.map(of_feature, range(len(self._bins)))
        seed = secrets.token_bytes(SEED_BYTES)
        sums = np.concatenate([each for _, each in found])
        return GroupedRows([groups for groups, _ in found], [len(each) for _, each in found], _hide(sums, seed), seed)

    def histograms(self, step: int, nodes: int, masked: Words, masks: Words) -> NDArray[np.int64]:
        """Return the histogram of each node, with the missing of each feature as its last bin.

        Args:
            step: the number of the step.
            nodes: how many nodes were counted.
            masked: the server's sums.
            masks: the feature owner's.
        Returns:
            int64 [nodes, bins + features, 2].
        """
        pairs = (masked - masks).view(np.int64)
        parts, start = [], 0
        for at, bins in enumerate(self._bins):
            numbers = self._numbers(step, at, nodes)
            parts.append(pairs[start + numbers].reshape(nodes, bins + 1, 2))
            start += len(numbers)
        return np.concatenate(parts, axis=1)


def add_groups(
    masked: Words, groups: Sequence[NDArray[np.unsignedinteger]], sizes: Sequence[int], seed: bytes, threads: Threads
) -> Words:
    """Add up masked pairs by group: the server's part.

    Args:
        masked: of :meth:`TreeSecrets.mask`.
        groups, sizes, seed: of :class:`GroupedRows`.
        threads: shares the features.
    Returns:
        uint64 [groups of all features, 2].
    Raises:
        ValueError: groups do not fit the pairs.
    """
    if not len(masked) == len(groups) == len(sizes):
        raise ValueError(f"it grouped {len(groups)} features where {len(masked)} are masked")
    for each, size in zip(groups, sizes, strict=True):
        if each.shape != masked.shape[1:2] or each.dtype.kind != "u" or each.max(initial=0) >= size:
            raise ValueError(f"its groups have shape {each.shape}; {masked.shape[1]} rows in {size} groups are needed")

    def of_feature(at: int) -> Words:
        sums = np.zeros((int(sizes[at]), 2), np.uint64)
        _add(np.ascontiguousarray(masked[at]), groups[at], sums)
        return sums

    return _hide(np.concatenate(threads.map(of_feature, range(len(sizes)))), seed)


def _hide(sums: Words, seed: bytes) -> Words:
    return sums + stream(HKDFExpand(SHA256(), SEED_BYTES, b"sums").derive(seed), sums.size).reshape(sums.shape)


@kernel
def _permutation(words: Words) -> NDArray[np.int64]:
    """Shuffle 0, 1, … by R. A. Fisher and F. Yates's method; the bias of the remainder is below n / 2**64."""
    order = np.arange(len(words))
    for at in range(len(words) - 1, 0, -1):
        other = np.int64(words[at] % np.uint64(at + 1))
        order[at], order[other] = order[other], order[at]
    return order


@kernel
def _group(
    order: NDArray[np.int64],
    rows: NDArray[np.int32],
    places: NDArray[np.int64],
    codes: NDArray[np.unsignedinteger],
    feature: int,
    bins: int,
    numbers: NDArray[np.int64],
    masks: Words,
    groups: NDArray[np.unsignedinteger],
    sums: Words,
) -> None:
    for at in range(len(order)):
        place = order[at]
        group = numbers[places[place] * (bins + 1) + np.int64(codes[rows[place], feature])]
        groups[at] = group
        sums[group, 0] += masks[at, 0]
        sums[group, 1] += masks[at, 1]


@kernel
def _add(pairs: Words, groups: NDArray[np.unsignedinteger], sums: Words) -> None:
    for at in range(len(pairs)):
        sums[groups[at], 0] += pairs[at, 0]
        sums[groups[at], 1] += pairs[at, 1]

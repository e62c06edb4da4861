"""The feature owners as the label owner sees them: how it learns of the best splits of their features."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from flare_core import SiteError
from flare_xgb.engine.fixed_point import FixedPoint
from flare_xgb.engine.split import Candidate, NodeSums
from flare_xgb.engine.threads import Threads
from flare_xgb.vertical.columns import Proposer, plain_nodes
from flare_xgb.vertical.growth import Division, Family, Histograms, NodeRows
from flare_xgb.vertical.masked import SEED_BYTES, TreeSecrets
from flare_xgb.vertical.questions import Asking, Question
from flare_xgb.vertical.sealing import Channel

Nodes = Mapping[int, tuple[NodeSums, NDArray[np.int64]]]


class PlainPeers:
    """They see the gradients, and propose splits.

    Args:
        proposers: by site, with the numbers of bins.
    """

    def __init__(self, proposers: Mapping[str, Proposer]) -> None:
        self._proposers = proposers

    def begin(self, pairs: NDArray[np.int64], scale: FixedPoint) -> None:
        """Begin a tree with the integer gradients of its rows."""
        self._begun = {"pairs": pairs, "scale": [scale.gradient_bits, scale.hessian_bits]}

    def propose(
        self, divisions: Sequence[Division], families: Sequence[Family], nodes: Nodes, rows: NodeRows
    ) -> Asking:
        """Ask for the best split of each node; return, by site, that of each node.

        Args:
            divisions: of rows, since the last question of the tree.
            families: the nodes and their parents.
            nodes: their sums and the features that they may use.
            rows: of each node.
        Raises:
            SiteError: a site proposes what it does not have; names it.
        """
        data = {}
        for site, proposer in self._proposers.items():
            end = proposer.first + proposer.cuts.features
            own = {
                node: (sums, allowed[(allowed >= proposer.first) & (allowed < end)])
                for node, (sums, allowed) in nodes.items()
            }
            data[site] = {
                **self._begun,
                "divisions": [each.to_plain() for each in divisions],
                "families": [list(each) for each in families],
                "nodes": plain_nodes(own),
            }
        self._begun = {}
        answers = yield Question("propose", data)
        found = {}
        for site, answer in answers.items():
            first, end = self._proposers[site].first, self._proposers[site].first + self._proposers[site].cuts.features
            found[site] = {int(node): Candidate.from_plain(plain) for node, plain in answer["proposals"]}
            if any(not first <= each.feature < end for each in found[site].values()):
                raise SiteError(f"{site}: proposes to split by a feature that it does not have", site=site)
        return found


class MaskedPeers:
    """They see no gradients, and this site sees their histograms by the numbers of bins.

    Args:
        proposers: by site, with the numbers of bins.
        channels: to each site.
        threads: shares the features.
    """

    def __init__(self, proposers: Mapping[str, Proposer], channels: Mapping[str, Channel], threads: Threads) -> None:
        self._proposers, self._channels, self._threads = proposers, channels, threads

    def begin(self, pairs: NDArray[np.int64], scale: FixedPoint) -> None:
        """Begin a tree, as :meth:`PlainPeers.begin`."""
        seeds = {site: secrets.token_bytes(SEED_BYTES) for site in self._proposers}
        self._pairs, self._scale = pairs, scale
        self._seeds: dict[str, dict[str, bytes]] = {site: {"seed": seed} for site, seed in seeds.items()}
        self._secrets = {
            site: TreeSecrets(self._channels[site], seed, _bins(self._proposers[site]), self._threads)
            for site, seed in seeds.items()
        }
        self._histograms = {site: Histograms() for site in self._proposers}
        self._number = 0

    def propose(
        self, divisions: Sequence[Division], families: Sequence[Family], nodes: Nodes, rows: NodeRows
    ) -> Asking:
        """Return the best splits, as :meth:`PlainPeers.propose`.

        Raises:
            SiteError: a site's histogram does not add up; names it.
        """
        common = {
            "number": self._number,
            "divisions": [each.to_plain() for each in divisions],
            "families": [list(each) for each in families],
        }
        wanted = Histograms.wanted(families, rows)
        training = [rows.training_of(node) for node in wanted]
        masked = {site: each.mask(self._number, training, self._pairs) for site, each in self._secrets.items()}
        data = {site: {**common, **self._seeds.get(site, {})} for site in self._proposers}
        self._seeds = {}
        answers = yield Question("group", data, masked)
        found = {}
        for site, answer in answers.items():
            if np.shape(answer["sums"]) != np.shape(answer["masked"]):
                raise SiteError(f"{site}: its sums have shape {np.shape(answer['sums'])}", site=site)
            counted = self._secrets[site].histograms(self._number, len(wanted), answer["masked"], answer["sums"])
            present = self._checked(site, counted, [nodes[node][0] for node in wanted])
            complete = self._histograms[site].complete(families, wanted, list(present))
            found[site] = self._proposers[site].propose(complete, nodes, self._scale)
        self._number += 1
        return found

    def _checked(self, site: str, counted: NDArray[np.int64], sums: Sequence[NodeSums]) -> NDArray[np.int64]:
        """Return histograms without the missing, after a look whether each feature's bins add up to the node."""
        sizes = np.array(_bins(self._proposers[site])) + 1
        ends = np.cumsum(sizes)
        wanted = np.array([[each.gradient, each.hessian] for each in sums])
        if len(sizes):
            totals = np.add.reduceat(counted, ends - sizes, axis=1)
            if not np.array_equal(totals, np.broadcast_to(wanted[:, np.newaxis], totals.shape)):
                raise SiteError(f"{site}: its histograms do not add up to the sums of the nodes", site=site)
        return np.delete(counted, ends - 1, axis=1)


def _bins(proposer: Proposer) -> list[int]:
    return [int(size) for size in np.diff(proposer.cuts.pointers)]

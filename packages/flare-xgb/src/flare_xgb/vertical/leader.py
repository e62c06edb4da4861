"""LabelOwner: the site with the labels, which leads the training and asks the other sites, through the server.

The training is a generator. It yields questions to feature owners and is sent their answers; and it yields what the
server must know: that it is ready for an order, and what it must keep for this site, sealed so that only this site can
open it. After a crash of any party, all sites begin anew from the trees so far.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from flare_core import SiteError
from flare_xgb.data import Table
from flare_xgb.engine.fixed_point import FixedPoint
from flare_xgb.engine.histogram import histograms
from flare_xgb.engine.rows import Split
from flare_xgb.engine.sampling import ColumnSampler, Draws, sample_rows
from flare_xgb.engine.threads import Threads
from flare_xgb.engine.train import Trainer, with_quantiles
from flare_xgb.engine.tree import Tree
from flare_xgb.horizontal.learning import Learning
from flare_xgb.objectives import Bounds
from flare_xgb.objectives.quantiles import quantiles_by_group
from flare_xgb.result import for_any_version
from flare_xgb.vertical.columns import Proposer, SiteColumns, numbered_cuts
from flare_xgb.vertical.growth import Division, Histograms, JoinedGrower, NodeRows
from flare_xgb.vertical.layout import Layout
from flare_xgb.vertical.part import ModelPart, splits_of
from flare_xgb.vertical.peers import MaskedPeers, PlainPeers
from flare_xgb.vertical.questions import Asking, Grown, Kept, Leading, Order, Question, Ready
from flare_xgb.vertical.sealing import Channel

Floats = NDArray[np.float32]


class LabelOwner:
    """Leads the training from the labels.

    In the trees as they grow, thresholds are the numbers of bins, also those of this site.

    Args:
        train: the rows to train on.
        validation: the rows to validate with.
        layout: the columns of all sites.
        learning: what is trained.
        kept: the training so far.
        channels: to the other sites.
        is_masked: the feature owners see no gradients.
        is_joined: make one model of the parts of all sites, in XGBoost's form.
        write: writes this site's part of the model.
    """

    def __init__(
        self,
        train: Table,
        validation: Table | None,
        layout: Layout,
        learning: Learning,
        *,
        kept: Kept,
        channels: Mapping[str, Channel],
        is_masked: bool,
        is_joined: bool,
        write: Callable[[ModelPart], None],
    ) -> None:
        self._table, self._validation, self._layout, self._learning = train, validation, layout, learning
        self._kept, self._channels = kept, channels
        self._is_masked, self._is_joined, self._write = is_masked, is_joined, write
        self._site, self._others = layout.label_owner, layout.feature_owners
        self._threads = Threads(learning.params.nthread)
        self._trees = [Tree.from_plain(each["tree"]) for each in kept.trees]
        self._draws = Draws(learning.params.seed)
        self._columns: ColumnSampler | None = None

    def lead(self) -> Leading:
        """Train; yield questions, trees and results, and be sent answers and orders."""
        yield from self._agree_on_bins()
        self._catch_up()
        order: Order = yield Ready({})
        while order.name == "round":
            yield from self._boost(order.number)
            order = yield Ready({"metrics": self._metrics()}, self._margins)
        result = yield from self._finish(order)
        yield Ready(result)

    # Before the first tree

    def _agree_on_bins(self) -> Asking:
        params, layout = self._learning.params, self._layout
        trainer = Trainer(params, self._table, threads=self._threads)  # checks labels, and finds the base score
        self._loss = trainer.loss
        weight = self._row_weight()
        self._own = SiteColumns(
            self._table, self._validation, layout.span(self._site).start, params.tree.max_bin, weight, self._threads
        )
        shared = None if self._is_masked else weight  # weights may tell of labels
        answers = yield Question("bins", {site: {"weight": shared} for site in self._others})
        sizes = {site: np.asarray(each["sizes"]) for site, each in answers.items()}
        flags = {site: np.asarray(each["categorical"]) for site, each in answers.items()}
        for site in self._others:
            width = layout.widths[layout.sites.index(site)]
            if not len(sizes[site]) == len(flags[site]) == width:
                raise SiteError(f"{site}: has bins of {len(sizes[site])} features, not of {width}", site=site)
        sizes[self._site], flags[self._site] = np.diff(self._own.cuts.pointers), self._own.cuts.categorical
        joined = (np.concatenate([each[site] for site in layout.sites]).tolist() for each in (sizes, flags))
        self._cuts = numbered_cuts(*joined)
        proposers = {
            site: Proposer(
                numbered_cuts(sizes[site].tolist(), flags[site].tolist()),
                self._learning.tree,
                layout.span(site).start,
                self._threads,
            )
            for site in layout.sites
        }
        self._proposer = proposers.pop(self._site)
        self._peers: PlainPeers | MaskedPeers
        if self._is_masked:
            self._peers = MaskedPeers(proposers, self._channels, self._threads)
        else:
            self._peers = PlainPeers(proposers)
        self._model = replace(trainer.model, features=layout.width, names=layout.names, types=layout.types)
        parts = [trainer.margins]
        if self._validation is not None:
            parts.append(self._model.base_margins(len(self._validation), self._validation.base_margin))
        self._margins = np.concatenate(parts)

    def _row_weight(self) -> Floats | None:
        weight = self._table.weight
        if weight is None or self._table.qid is None:
            return weight
        return np.repeat(weight, np.diff(self._table.group_starts))

    def _catch_up(self) -> None:
        """Go on from what was kept before a party was started again."""
        kept = self._kept
        if kept.margins is not None:
            self._margins = kept.margins.copy()
        self._before = self._margins[: len(self._table)].copy()
        if not kept.trees:
            return
        self._draws.restore(kept.trees[-1]["draws"])
        self._columns = ColumnSampler(self._learning.tree, self._layout.width, 0)
        self._columns.restore(kept.trees[-1]["columns"])
        for number, leaves in enumerate(kept.leaves, len(self._trees) - len(kept.leaves)):
            self._margins[:, self._learning.output_of(number)] += self._trees[number].values[leaves]

    def _ask_for_splits(self, question: str) -> Asking:
        """Ask each site something of all of its splits."""
        asked = {}
        for site in self._others:
            numbers, splits = splits_of(self._trees, self._layout, site)
            asked[site] = {"trees": numbers, "splits": [each.to_plain() for each in splits]}
        answers = yield Question(question, asked)
        return answers

    # A round

    def _boost(self, round_: int) -> Leading:
        """Grow the trees of a round that are not grown yet."""
        learning, params = self._learning, self._learning.params
        start, end = round_ * learning.trees_per_round, (round_ + 1) * learning.trees_per_round
        if len(self._trees) == start:
            self._before = self._margins[: len(self._table)].copy()
            if params.seed_per_iteration:
                self._draws = Draws(params.seed * 127 + round_)
        if len(self._trees) == end:
            return
        if self._columns is None:
            self._columns = ColumnSampler(learning.tree, self._layout.width, self._draws.next())
        gradients, hessians = self._loss.gradients(self._before, self._table, round_)
        bounds = self._loss.bounds(self._table) or Bounds.measured((gradients, hessians))
        scale = FixedPoint.fit(bounds.gradient, bounds.hessian, len(self._table))
        while len(self._trees) < end:
            output = learning.output_of(len(self._trees))
            gradient, hessian = self._sampled(gradients[:, output], hessians[:, output])
            tree, rows = yield from self._grow(scale.encode(gradient, hessian), scale)
            if self._loss.leaf_quantiles:
                tree = self._adapted(tree, rows, hessian, output)
            rows.add_values(tree.values, self._margins[:, output])
            self._trees.append(tree)
            leaves = rows.leaves().astype(np.min_scalar_type(tree.nodes))
            state = {"draws": self._draws.state(), "columns": self._columns.state()}
            yield Grown({"tree": tree.to_plain(), **state}, leaves)

    def _sampled(self, gradient: Floats, hessian: Floats) -> tuple[Floats, Floats]:
        share, rows = np.float32(self._learning.params.tree.subsample), len(gradient)
        if int(share * np.float32(rows)) >= rows:
            return gradient, hessian
        used = sample_rows(self._draws.next(), rows, float(share))
        return np.where(used, gradient, np.float32(0)), np.where(used, hessian, np.float32(0))

    def _adapted(self, tree: Tree, rows: NodeRows, hessian: Floats, output: int) -> Tree:
        label = self._table.label
        assert label is not None  # checked by the objective
        groups = np.where(hessian == 0, -1, rows.leaves()[: len(label)])
        alpha = self._loss.leaf_quantiles[output]
        found = quantiles_by_group(label - self._before[:, output], groups, tree.nodes, alpha, self._table.weight)
        return with_quantiles(tree, found, self._learning.tree.learning_rate)

    def _grow(self, pairs: NDArray[np.int64], scale: FixedPoint) -> Asking:
        """Grow a tree; return it and the rows of its leaves."""
        grower = JoinedGrower(self._learning.tree, self._cuts, pairs.sum(axis=0), scale, self._columns, self._threads)
        rows = NodeRows(len(self._margins), len(pairs), self._threads)
        own, divisions = Histograms(), list[Division]()
        self._peers.begin(pairs, scale)
        while not grower.done:
            families, nodes = grower.families(), grower.nodes()
            wanted = own.wanted(families, rows)
            training = [rows.training_of(node) for node in wanted]
            counted = histograms(self._own.binned, pairs, training, self._threads)
            mine = self._proposer.propose(own.complete(families, wanted, counted), nodes, scale)
            theirs = yield from self._peers.propose(divisions, families, nodes, rows)
            splits = grower.take([mine if site == self._site else theirs[site] for site in self._layout.sites])
            divisions = yield from self._divide(splits, rows)
            rows.divide(divisions)
        return grower.tree(), rows

    def _divide(self, splits: Sequence[Split], rows: NodeRows) -> Asking:
        """Ask the owner of each split's feature to divide the rows of its node; return the divisions."""
        asked: dict[str, list[Split]] = {}
        for split in splits:
            asked.setdefault(self._layout.owner(split.feature), []).append(split)
        bits = {}
        for split in asked.pop(self._site, []):
            bits[split.node] = np.packbits(self._own.divide(split, rows.all_of(split.node)))
        if asked:
            data = {site: {"splits": [each.to_plain() for each in theirs]} for site, theirs in asked.items()}
            answers = yield Question("divide", data)
            for site, theirs in asked.items():
                found = answers[site]["bits"]
                if [len(each) for each in found] != [(len(rows.all_of(split.node)) + 7) // 8 for split in theirs]:
                    raise SiteError(
                        f"{site}: divides other rows than those of the nodes that it was asked for", site=site
                    )
                bits |= {split.node: each for split, each in zip(theirs, found, strict=True)}
        return [Division(split.node, split.left, split.right, bits[split.node]) for split in splits]

    def _metrics(self) -> dict[str, float]:
        """Return the metrics of the round, as ``train-rmse``."""
        found: dict[str, float] = {}
        train, validation = np.split(self._margins, [len(self._table)])
        for name, table, margins in (("validation", self._validation, validation), ("train", self._table, train)):
            if table is not None and len(table):
                predictions = self._loss.transform_for_metrics(margins)
                found |= {f"{name}-{each.name}": each(predictions, table) for each in self._learning.metrics}
        return found

    # After the last round

    def _finish(self, order: Order) -> Asking:
        per_round = self._learning.trees_per_round
        numbers, splits = splits_of(self._trees, self._layout, self._site)
        model = replace(
            self._model,
            trees=self._trees,
            outputs=[self._learning.output_of(tree) for tree in range(len(self._trees))],
            rounds=list(range(0, len(self._trees) + 1, per_round)),
            attributes=dict(order.attributes),
        )
        if self._is_joined:
            answers = yield from self._ask_for_splits("reveal")
            thresholds = {site: each["thresholds"] for site, each in answers.items()}
            thresholds[self._site] = self._own.thresholds(splits)
            model = replace(model, trees=self._with_thresholds(thresholds))
            importance = {kind: model.importance(kind) for kind in ("total_gain", "weight")}
            return {"model": for_any_version(model).to_json().decode(), "importance": importance}
        yield from self._ask_for_splits("keep")
        part = ModelPart.of_splits(
            self._site, self._table, splits, numbers, self._own.thresholds(splits), first=self._own.first
        )
        self._write(part.with_model(model, self._layout))
        return {}

    def _with_thresholds(self, thresholds: Mapping[str, Floats]) -> list[Tree]:
        values = [tree.threshold.copy() for tree in self._trees]
        for site, given in thresholds.items():
            numbers, splits = splits_of(self._trees, self._layout, site)
            for number, split, threshold in zip(numbers, splits, given, strict=True):
                if split.categories is None:
                    values[number][split.node] = threshold
        return [replace(tree, threshold=each) for tree, each in zip(self._trees, values, strict=True)]

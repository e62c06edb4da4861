"""FeatureOwner: a site without labels. It answers the label owner's questions, and knows no more than they say.

Questions and answers, which the server passes on without reading them:

    bins     {"weight"}                          -> {"sizes", "categorical"}: the number of bins of each feature
    propose  {"pairs", "scale"}?, {"divisions", "families", "nodes"}
                                                 -> {"proposals"}: the best split of each node
    group    {"seed"}?, {"number", "divisions", "families"}
                                                 -> {"sums"}, and for the server {"groups", "sizes", "seed"}
    divide   {"splits"}                          -> {"bits"}: of each split, which of its node's rows go right
    keep     {"splits"}                          -> {}: the site's part of the model is written
    reveal   {"splits"}                          -> {"thresholds"}

``pairs`` or ``seed`` begin a tree, and ``number`` counts its steps. ``propose`` is asked in plain training, ``group``
in masked training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from flare_xgb.data import Table
from flare_xgb.engine.fixed_point import FixedPoint
from flare_xgb.engine.histogram import histograms
from flare_xgb.engine.rows import Split
from flare_xgb.engine.threads import Threads
from flare_xgb.horizontal.learning import Learning
from flare_xgb.vertical.columns import Proposer, SiteColumns, nodes_of
from flare_xgb.vertical.growth import Division, Histograms, NodeRows
from flare_xgb.vertical.layout import Layout
from flare_xgb.vertical.masked import TreeSecrets
from flare_xgb.vertical.part import ModelPart
from flare_xgb.vertical.sealing import Channel


class FeatureOwner:
    """Answers the questions of the label owner.

    Args:
        site: the site's name.
        train: the rows to train on.
        validation: the rows to validate with.
        layout: the columns of all sites.
        learning: what is trained.
        channel: to the label owner.
        keep: writes the site's part of the model.
    """

    def __init__(
        self,
        site: str,
        train: Table,
        validation: Table | None,
        layout: Layout,
        learning: Learning,
        channel: Channel,
        keep: Callable[[ModelPart], None],
    ) -> None:
        self.site = site
        self._train, self._validation, self._layout = train, validation, layout
        self._learning, self._channel, self._write = learning, channel, keep
        self._threads = Threads(learning.params.nthread)
        self._columns: SiteColumns | None = None
        self._histograms = Histograms()

    @property
    def _own(self) -> SiteColumns:
        assert self._columns is not None  # bins are asked for first
        return self._columns

    def answer(self, question: str, data: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Answer a question.

        Args:
            question: its name.
            data: its data.
        Returns:
            the answer for the label owner, and what is for the server.
        """
        if question == "group":
            return self._group(data)
        answer: dict[str, Any] = getattr(self, f"_{question}")(data)
        return answer, {}

    def _bins(self, data: Mapping[str, Any]) -> dict[str, Any]:
        first = self._layout.span(self.site).start
        max_bin = self._learning.params.tree.max_bin
        self._columns = SiteColumns(self._train, self._validation, first, max_bin, data["weight"], self._threads)
        cuts = self._columns.cuts
        self._proposer = Proposer(cuts, self._learning.tree, first, self._threads)
        return {"sizes": np.diff(cuts.pointers), "categorical": cuts.categorical}

    def _begin_tree(self) -> None:
        self._histograms = Histograms()
        rows = self._layout.rows
        self._rows = NodeRows(rows + self._layout.validation_rows, rows, self._threads)

    def _propose(self, data: Mapping[str, Any]) -> dict[str, Any]:
        if "pairs" in data:
            self._begin_tree()
            self._pairs, self._scale = data["pairs"], FixedPoint(*(int(bits) for bits in data["scale"]))
        self._divide_rows(data)
        families = [(int(above), int(left), int(right)) for above, left, right in data["families"]]
        wanted = self._histograms.wanted(families, self._rows)
        counted = histograms(
            self._own.binned, self._pairs, [self._rows.training_of(node) for node in wanted], self._threads
        )
        found = self._histograms.complete(families, wanted, counted)
        proposals = self._proposer.propose(found, nodes_of(data["nodes"]), self._scale)
        return {"proposals": [[node, candidate.to_plain()] for node, candidate in proposals.items()]}

    def _group(self, data: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        if "seed" in data:
            self._begin_tree()
            self._secrets = TreeSecrets(
                self._channel, data["seed"], np.diff(self._own.cuts.pointers).tolist(), self._threads
            )
        self._divide_rows(data)
        families = [(int(above), int(left), int(right)) for above, left, right in data["families"]]
        wanted = self._histograms.wanted(families, self._rows)
        made = self._secrets.group(
            int(data["number"]), [self._rows.training_of(node) for node in wanted], self._own.binned
        )
        return {"sums": made.sums}, {"groups": made.groups, "sizes": made.sizes, "seed": made.seed}

    def _divide_rows(self, data: Mapping[str, Any]) -> None:
        self._rows.divide([Division(**each) for each in data["divisions"]])

    def _divide(self, data: Mapping[str, Any]) -> dict[str, Any]:
        splits = [Split.from_plain(each) for each in data["splits"]]
        return {"bits": [np.packbits(self._own.divide(each, self._rows.all_of(each.node))) for each in splits]}

    def _reveal(self, data: Mapping[str, Any]) -> dict[str, Any]:
        return {"thresholds": self._own.thresholds([Split.from_plain(each) for each in data["splits"]])}

    def _keep(self, data: Mapping[str, Any]) -> dict[str, Any]:
        splits = [Split.from_plain(each) for each in data["splits"]]
        part = ModelPart.of_splits(
            self.site, self._train, splits, data["trees"], self._own.thresholds(splits), first=self._own.first
        )
        self._write(part)
        return {}

"""The workflow of horizontal training: the sites hold rows of the same columns, and grow each tree together."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flare_core import Federation, ModelError, TrainingFederation, Workflow
from flare_fobs import dumps, loads
from flare_xgb.engine.fixed_point import FixedPoint
from flare_xgb.engine.model import Model
from flare_xgb.engine.sampling import ColumnSampler, Draws
from flare_xgb.engine.threads import Threads
from flare_xgb.engine.train import EarlyStopping, with_quantiles
from flare_xgb.engine.tree import Tree
from flare_xgb.horizontal.exponents import largest_powers
from flare_xgb.horizontal.growth import Growth
from flare_xgb.horizontal.learning import Learning
from flare_xgb.horizontal.setup import Setup, describe, find_setup
from flare_xgb.horizontal.sums import Actions, Lost, SiteSums
from flare_xgb.result import saved, write_model

_SAVE_FACTOR = 9  # the time between two models that are saved, as a multiple of what the last one took


@dataclass
class _Gradients:
    """The gradients of a round, as the server knows them.

    Attributes:
        round: the round; -1 before the first.
        sites: over which the scale was found.
        scale: the bits of the integers.
        rows: the number of rows of all sites.
    """

    round: int = -1
    sites: tuple[str, ...] = ()
    scale: Sequence[int] = field(default_factory=list)
    rows: int = 0


class Horizontal(Workflow):
    """Train XGBoost's model of the rows of all sites, of which the server learns sums alone.

    The sites agree on their columns and, by counts, on bins and base score. Then each tree grows from the sums of the
    sites' histograms, which are sums of integers: the model has the same bits for any number of sites and any deal of
    the rows, and is that of training in one place.

    If a site leaves or is late while a tree grows, and enough others are there, the tree begins again without it. The
    site takes part again with a later round. A site or a server that is started again goes on within the tree.

    The metrics of each round are recorded as ``train-<metric>`` and ``validation-<metric>``. At the end,
    ``model.json``, which XGBoost can load, is written to the server's folder, and the importance of features is shown.
    After early stopping, the model has the attributes ``best_iteration`` and ``best_score``, as XGBoost's. The rounds
    up to the best one are saved as the best model if there are rows to validate with.

    Args:
        params: XGBoost's parameters by XGBoost's names.
        min_clients: how many sites must take part.
        num_rounds: how many rounds to train.
        early_stopping_rounds: end after so many rounds without improvement of the last metric.
        secure: ``masked`` if the sites send numbers under masks only.
        client_ranks: the order of the sites, in which their rows are taken to lie in one table; by default, that of the
            run. It matters for draws of rows alone.
    """

    def __init__(
        self,
        params: Mapping[str, Any],
        *,
        min_clients: int,
        num_rounds: int,
        early_stopping_rounds: int | None = None,
        secure: str | None = None,
        client_ranks: Mapping[str, int] | None = None,
    ) -> None:
        self.params = dict(params)
        self.min_clients = min_clients
        self.num_rounds = num_rounds
        self.early_stopping_rounds = early_stopping_rounds
        self.secure = secure
        self.client_ranks = None if client_ranks is None else dict(client_ranks)
        metrics = Learning.of_unnamed(self.params).metrics
        self.key_metric = f"validation-{metrics[-1].name}" if metrics else None
        self._trees: list[Tree] = []
        self._packed: list[NDArray[np.uint8]] = []  # the trees as they are kept
        self._setup: Setup | None = None
        self._conform: Actions = []  # what sites do before there is a setup
        self._gradients = _Gradients()
        self._growth: Growth | None = None
        self._drawn: Mapping[str, Any] | None = None  # the draw of rows of a tree that begins again
        self._stopping: EarlyStopping | None = None
        self._next_save = 0.0

    def run(self, fed: TrainingFederation) -> None:
        ranks = self.client_ranks or {site: rank for rank, site in enumerate(fed.sites)}
        if unknown := sorted(set(fed.sites) - set(ranks)):
            raise ModelError(f"client_ranks has no rank of {unknown[0]}; give one for each of {', '.join(fed.sites)}")
        is_masked, epoch = self.secure == "masked", secrets.randbits(62)
        sums = SiteSums(fed, self.params, ranks, is_masked=is_masked, restore=self._actions, epoch=epoch)
        for round_ in fed.rounds(self.num_rounds):
            sums.choose(fed.sample(self.min_clients))
            while self._setup is None:
                try:
                    self._agree(sums, sorted(fed.sites, key=ranks.__getitem__))
                except Lost as lost:
                    sums.leave_out(lost)
                else:
                    self._warn_of_parts(fed, len(sums.sites))
                    fed.checkpoint()
            self._boost(fed, sums, round_)
            if self._measure(fed, sums, round_):
                break
        self._conclude(fed)

    def _warn_of_parts(self, fed: Federation, sites: int) -> None:
        """Warn of a loss that compares rows, since it compares those of one site only."""
        if self._learning.objective.together == "site" and sites > 1:
            fed.warn(
                f"{self._learning.params.objective} compares each row with those of its own site only, so the model is"
                " not that of training in one place"
            )

    def _agree(self, sums: SiteSums, order: list[str]) -> None:
        schema, firsts = describe(sums, order, is_masked=self.secure == "masked")
        learning = Learning(self.params, schema.names or schema.width)
        self._conform = [("conform", {"schema": schema.to_dict()})]
        sums.total(self._conform)
        self._use(find_setup(sums, schema, firsts, learning))
        sums.restore()

    def _use(self, setup: Setup) -> None:
        self._setup = setup
        self._learning = learning = Learning(self.params, setup.schema.names or setup.schema.width)
        self._threads = Threads(learning.params.nthread)
        self._draws = Draws(learning.params.seed * (127 if learning.params.seed_per_iteration else 1))
        self._columns = ColumnSampler(learning.params.tree, setup.schema.width, self._draws.next())
        if self.early_stopping_rounds is not None and learning.metrics:
            self._stopping = EarlyStopping(self.early_stopping_rounds, learning.metrics[-1].maximize)
        self._model = Model(
            loss=learning.objective.config(),
            base_score=setup.score,
            features=setup.schema.width,
            num_class=learning.params.loss.num_class,
            num_parallel_tree=learning.params.num_parallel_tree,
            names=setup.schema.names,
            types=setup.schema.types,
        )

    def _actions(self, site: str) -> Actions:
        """Return the actions that bring a site to the point where the run is."""
        if self._setup is None:
            return self._conform
        now = self._gradients.round
        before = max(now, 0) * self._learning.trees_per_round
        actions = [*self._setup.actions(site), self._add(0, before)]
        if now >= 0:
            actions += [("round", {"number": now}), self._add(before, len(self._trees))]
        return [*actions, *(self._growth.actions if self._growth is not None else ())]

    def _add(self, start: int, end: int) -> tuple[str, dict[str, Any]]:
        outputs = [self._learning.output_of(tree) for tree in range(start, end)]
        return "trees", {"trees": [tree.to_plain() for tree in self._trees[start:end]], "outputs": outputs}

    def _boost(self, fed: Federation, sums: SiteSums, round_: int) -> None:
        """Add the trees of a round."""
        first = round_ * self._learning.trees_per_round
        if self._learning.params.seed_per_iteration and round_ and len(self._trees) == first and self._growth is None:
            self._draws = Draws(self._learning.params.seed * 127 + round_)
        while len(self._trees) < first + self._learning.trees_per_round:
            try:
                self._find_scale(sums, round_)
                if self._growth is None:
                    self._growth = self._begin_tree()
                tree = self._growth.run(sums, fed.checkpoint)
                tree = self._with_quantiles(sums, self._growth, tree)
            except Lost as lost:
                sums.leave_out(lost)
            else:
                sums.later(self._growth.finish(tree))
                self._trees.append(tree)
                self._packed.append(_bytes(tree.to_plain()))
                self._growth = None

    def _find_scale(self, sums: SiteSums, round_: int) -> None:
        """Let the sites compute the gradients of a round, unless they have, and find the scale for their sum.

        If these are not the sites with which a tree began to grow, it begins again.
        """
        if (self._gradients.round, self._gradients.sites) != (round_, tuple(sums.sites)):
            if self._growth is not None:
                self._columns.restore(self._growth.columns_before)
                self._drawn, self._growth = self._growth.tree["rows"], None
            self._note_scale(sums, round_, sums.total([("round", {"number": round_})]))

    def _note_scale(self, sums: SiteSums, round_: int, found: Mapping[str, NDArray[np.int64]]) -> None:
        gradient, hessian = largest_powers(found["bounds"])
        rows = int(found["rows"][0])
        scale = FixedPoint.fit(gradient, hessian, rows)
        bits = [scale.gradient_bits, scale.hessian_bits]
        self._gradients = _Gradients(round_, tuple(sums.sites), bits, rows)

    def _begin_tree(self) -> Growth:
        drawn, self._drawn = self._drawn, None
        share, rows = np.float32(self._learning.params.tree.subsample), self._gradients.rows
        if drawn is None and int(share * np.float32(rows)) < rows:
            drawn = {"seed": self._draws.next(), "share": float(share)}
        number = len(self._trees)
        tree = {"output": self._learning.output_of(number), "scale": self._gradients.scale, "rows": drawn}
        return Growth(number, tree, self._learning.tree, self._agreed.cuts, self._columns, self._threads)

    def _with_quantiles(self, sums: SiteSums, growth: Growth, tree: Tree) -> Tree:
        if not (alphas := self._learning.objective.leaf_quantiles):
            return tree
        alpha = alphas[self._learning.output_of(growth.number)]
        found = growth.leaf_quantiles(sums, tree, alpha, self._agreed.unit)
        return with_quantiles(tree, found, self._learning.tree.learning_rate)

    def _measure(self, fed: TrainingFederation, sums: SiteSums, round_: int) -> bool:
        """Record the metrics of a round; return whether it is the last one.

        The sites compute the gradients of the next round at the same time.
        """
        actions: list[tuple[str, Mapping[str, Any]]] = [("metrics", {"number": len(self._trees)})]
        if round_ + 1 < self.num_rounds:
            actions.append(("round", {"number": round_ + 1}))
        while True:
            try:
                found = sums.total(actions)
                break
            except Lost as lost:
                sums.leave_out(lost)
        if "bounds" in found:
            self._note_scale(sums, round_ + 1, found)
        kinds = ["validation", "train"] if self._agreed.has_validation else ["train"]
        scores = {
            f"{kind}-{metric.name}": metric.finish(found[f"{kind}-{metric.name}"])
            for metric in self._learning.metrics
            for kind in kinds
        }
        fed.record({key: score for key, score in scores.items() if math.isfinite(score)})
        self._save(fed)
        if self._stopping is None:
            return False
        return self._stopping.stops(scores[f"{kinds[0]}-{self._learning.metrics[-1].name}"])

    @property
    def _agreed(self) -> Setup:
        assert self._setup is not None
        return self._setup

    def _whole_model(self) -> Model:
        of_round = self._learning.trees_per_round
        model = replace(
            self._model,
            trees=self._trees,
            outputs=[self._learning.output_of(tree) for tree in range(len(self._trees))],
            rounds=range(0, len(self._trees) + 1, of_round),
        )
        if self._stopping is None or self._stopping.best_iteration < 0:
            return model
        best = {
            "best_iteration": str(self._stopping.best_iteration),
            "best_score": repr(float(self._stopping.best_score)),
        }
        return replace(model, attributes=best)

    def _save(self, fed: TrainingFederation) -> None:
        """Save the model, unless that takes too much of the time."""
        started = time.monotonic()
        if started >= self._next_save:
            fed.save(saved(self._whole_model()))
            self._next_save = time.monotonic() + _SAVE_FACTOR * (time.monotonic() - started)

    def _conclude(self, fed: TrainingFederation) -> None:
        """Write the model, and show the importance of features."""
        model = self._whole_model()
        fed.save(saved(model))
        if self._stopping is not None and self._stopping.best_iteration >= 0 and self._agreed.has_validation:
            best = self._stopping.best_iteration
            score = float(self._stopping.best_score)
            fed.save(saved(model.slice(0, best + 1)), name="best", metric=score, of_round=best)
        write_model(fed, model, self._agreed.schema)

    def state(self) -> Mapping[str, Any]:
        if self._setup is None:
            return {}
        now = {
            "gradients": asdict(self._gradients),
            "draws": self._draws.state(),
            "columns": self._columns.state(),
            "growth": None if self._growth is None else self._growth.state(),
            "stopping": None if self._stopping is None else asdict(self._stopping),
        }
        return {
            "setup": {"bytes": _bytes(self._setup.to_plain())},
            "trees": {
                "bytes": np.concatenate([np.zeros(0, np.uint8), *self._packed]),
                "ends": np.cumsum([len(each) for each in self._packed], dtype=np.int64),
            },
            "now": {"bytes": _bytes(now)},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        if not state:
            return
        self._use(Setup.from_plain(loads(state["setup"]["bytes"].tobytes())))
        now = loads(state["now"]["bytes"].tobytes())
        self._packed = np.split(state["trees"]["bytes"], state["trees"]["ends"])[:-1]
        self._trees = [Tree.from_plain(loads(each.tobytes())) for each in self._packed]
        self._gradients = _Gradients(**now["gradients"] | {"sites": tuple(now["gradients"]["sites"])})
        self._draws.restore(now["draws"])
        self._columns.restore(now["columns"])
        if now["stopping"] is not None:
            self._stopping = EarlyStopping(**now["stopping"])
        if now["growth"] is not None:
            self._growth = Growth.restored(
                now["growth"], self._learning.tree, self._agreed.cuts, self._columns, self._threads
            )


def _bytes(plain: Mapping[str, Any]) -> NDArray[np.uint8]:
    return np.frombuffer(dumps(plain), np.uint8)

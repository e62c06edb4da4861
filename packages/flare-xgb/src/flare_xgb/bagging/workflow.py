"""Bagging and cyclic boosting of whole trees: the server's half.

Each site grows trees from its own rows, given the model of all sites. Only trees, sums of metrics and, at the
beginning, the names of columns and categories leave it. In a round of *bagging* all sites grow trees from the same
model, and the server appends them, each scaled by its site's share. In a round of *cyclic* boosting the sites take
turns, and each continues with the trees of those before it.

A site is sent only the trees that it does not have; one that was started again is sent all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from flare_core import Federation, RecipeError, SiteError, TrainingFederation, Workflow
from flare_core.task import Sample
from flare_xgb.bagging import LR_MODES, MODES
from flare_xgb.bagging.beginning import Beginning, begin, rank_of
from flare_xgb.data import Schema
from flare_xgb.engine.model import Model
from flare_xgb.engine.train import EarlyStopping, loss_of, metrics_of
from flare_xgb.engine.tree import Tree
from flare_xgb.metrics import Metric
from flare_xgb.params import Params, parse
from flare_xgb.result import saved, write_model

Answers = dict[str, Mapping[str, Any]]


class TreeBoosting(Workflow):
    """Append trees that each site grows from its own rows.

    Args:
        min_clients: number of sites that a round needs.
        num_rounds: number of rounds.
        xgb_params: XGBoost's parameters, by its names.
        mode: ``bagging`` or ``cyclic``.
        lr_mode: the shares by which the trees of a round of bagging are scaled: ``uniform``, the same for each site, or
            ``scaled``, by the sum of the weights of the site's rows. They add up to 1 over the sites of the round.
        lr_scales: by site, what replaces the sum of the weights.
        clients_per_round: number of sites of a round of bagging, drawn at random; all by default.
        order: of the sites in cyclic boosting: ``fixed``, ``random``, drawn for each round, or a list of names.
        early_stopping_rounds: rounds without improvement that end the run.
        save_name: the name of the file of the model.

    Raises:
        RecipeError: an argument is unusable.
    """

    def __init__(
        self,
        *,
        min_clients: int,
        num_rounds: int,
        xgb_params: Mapping[str, Any],
        mode: str = "bagging",
        lr_mode: str = "uniform",
        lr_scales: Mapping[str, float] | None = None,
        clients_per_round: int | None = None,
        order: str | Sequence[str] = "fixed",
        early_stopping_rounds: int | None = None,
        save_name: str = "model.json",
    ) -> None:
        if mode not in MODES:
            raise RecipeError(f"mode is {mode!r}; use 'bagging' or 'cyclic'")
        if lr_mode not in LR_MODES:
            raise RecipeError(f"lr_mode is {lr_mode!r}; use 'uniform' or 'scaled'")
        if isinstance(order, str) and order not in ("fixed", "random"):
            raise RecipeError(f"order is {order!r}; use 'fixed', 'random', or a list of site names")
        self.min_clients = min_clients
        self.num_rounds = num_rounds
        self.xgb_params = dict(xgb_params)
        self.mode = mode
        self.lr_mode = lr_mode
        self.lr_scales = dict(lr_scales or {})
        self.clients_per_round = clients_per_round
        self.order = order if isinstance(order, str) else list(order)
        self.early_stopping_rounds = early_stopping_rounds
        self.save_name = save_name
        self._beginning: Beginning | None = None
        self._model: Model | None = None
        self._stopping: EarlyStopping | None = None
        self._is_over = False
        self._ends: list[int] = []  # how many rounds the model has after each of the run's
        self._held: dict[str, int] = {}  # by site, how many of the model's rounds it has

    def run(self, fed: TrainingFederation) -> None:
        for _ in fed.rounds(self.num_rounds):
            if self._is_over:  # the run was stopped after the last round, and is continued
                break
            if self._beginning is None:
                self._beginning = begin(fed, fed.sample(self.min_clients), self.xgb_params)
                self._model = self._beginning.model
            if self.mode == "bagging":
                self._bag(fed)
            else:
                self._take_turns(fed)
            self._is_over = self._stops(self._measure(fed))
            if self._is_over:
                break
        self._conclude(fed)

    def state(self) -> dict[str, Any]:
        if self._beginning is None:
            return {}
        return {
            "model": {"ubj": np.frombuffer(self._made.to_ubj(), np.uint8)},
            "sums": {"all": self._beginning.sums},
            "schema": self._beginning.schema.to_dict(),
            "stopping": None if self._stopping is None else asdict(self._stopping),
            "is_over": self._is_over,
            "ends": self._ends,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        if state:
            self._model = Model.from_bytes(state["model"]["ubj"].tobytes())
            schema = Schema.from_dict(state["schema"])
            self._beginning = Beginning(schema, state["sums"]["all"], self._model.slice(0, 0))
            self._stopping = None if state["stopping"] is None else EarlyStopping(**state["stopping"])
            self._is_over = state["is_over"]
            self._ends = list(state["ends"])

    @property
    def _made(self) -> Model:
        assert self._model is not None
        return self._model

    @property
    def _agreed(self) -> Beginning:
        assert self._beginning is not None
        return self._beginning

    @property
    def _params(self) -> Params:
        schema = self._agreed.schema
        return parse(self.xgb_params, schema.names or schema.width)

    @property
    def _metrics(self) -> list[Metric]:
        return metrics_of(self._params, loss_of(self._params))

    def _tell(self, fed: Federation, task: str, sample: Sample, by_site: Mapping[str, Any] | None = None) -> Answers:
        """Give a task to sites, with the trees that they lack; return the answers in the order of the sites."""
        answers: Answers = {}
        waiting, quorum = tuple(sample), sample.quorum
        while waiting:
            tasks = {site: self._task(fed, site) | dict((by_site or {}).get(site, {})) for site in waiting}
            behind = []
            with fed.scatter(task, tasks, quorum=max(0, quorum - len(answers))) as asked:
                for reply in asked:
                    if reply.data.get("is_behind"):  # it was started again
                        self._held.pop(reply.site, None)
                        behind.append(reply.site)
                    else:
                        self._held[reply.site] = self._made.num_rounds
                        answers[reply.site] = reply.data
            waiting = tuple(behind)
        return {site: answers[site] for site in sample if site in answers}

    def _task(self, fed: Federation, site: str) -> dict[str, Any]:
        since, model, common = self._held.get(site), self._made, None
        if since is None:
            since = 0
            common = {
                "schema": self._agreed.schema.to_dict(),
                "sums": self._agreed.sums,
                "base": np.asarray(model.objective.to_margin(model.base_score), np.float32),
            }
        rounds = [model.slice(each, each + 1) for each in range(since, model.num_rounds)]
        plain = [{"trees": [tree.to_plain() for tree in each.trees], "outputs": [*each.outputs]} for each in rounds]
        return rank_of(fed, site) | {"common": common, "since": since, "rounds": plain}

    def _grow(self, fed: Federation, sample: Sample) -> Answers:
        seed = self._params.seed & 0xFFFFFFFF
        seeds = {
            site: {"seed": int(np.random.SeedSequence([seed, self._made.num_rounds, rank]).generate_state(1)[0])}
            for rank, site in enumerate(fed.sites)
        }
        return self._tell(fed, "grow", sample, seeds)

    def _bag(self, fed: Federation) -> None:
        answers = self._grow(fed, fed.sample(self.min_clients, count=self.clients_per_round))
        grown = {site: each for site, each in answers.items() if each["outputs"]}
        if not grown:
            fed.warn(f"round {fed.round}: none of {', '.join(answers)} has rows, so no tree was added")
            return
        weights = {site: self._weight(site, each["weight"]) for site, each in grown.items()}
        total = math.fsum(weights.values())
        if total <= 0:
            raise RecipeError(
                f"the shares of {', '.join(grown)} add up to {total}; give one of them an lr_scale above 0"
            )
        self._append([(each, weights[site] / total) for site, each in grown.items()])

    def _weight(self, site: str, weight: float) -> float:
        return 1.0 if self.lr_mode == "uniform" else self.lr_scales.get(site, weight)

    def _take_turns(self, fed: Federation) -> None:
        order = self._order(fed)
        done: list[str] = []
        for index in range(len(order)):
            turn = Sample.in_turn(order, index, done=len(done), minimum=self.min_clients)
            for site, answer in self._grow(fed, turn).items():
                done.append(site)
                if answer["outputs"]:
                    self._append([(answer, 1.0)])
        if len(done) < self.min_clients:
            raise SiteError(
                f"{self.min_clients} sites must take their turn in each round, but {len(done)} did"
                f" ({', '.join(done) or 'none'}); start the missing sites, or lower min_clients",
                site=next(site for site in fed.sites if site not in done),
            )

    def _order(self, fed: Federation) -> list[str]:
        present = list(fed.sample(self.min_clients))
        if self.order == "random":
            return [present[index] for index in fed.random.permutation(len(present))]
        if self.order == "fixed":
            return present
        if unknown := [site for site in self.order if site not in fed.sites]:
            raise RecipeError(f"order names {unknown[0]!r}; the sites are {', '.join(fed.sites)}")
        return [site for site in self.order if site in present]

    def _append(self, parts: Sequence[tuple[Mapping[str, Any], float]]) -> None:
        """Append a round of trees: those of the first output first, as XGBoost has them."""
        found = [
            (output, _scaled(Tree.from_plain(tree), share))
            for answer, share in parts
            for output, tree in zip(answer["outputs"], answer["trees"], strict=True)
        ]
        found.sort(key=lambda one: one[0])
        model = self._made
        if not model.num_rounds:
            model = replace(model, num_parallel_tree=len(found) // model.num_outputs)
        self._model = model.with_round([tree for _, tree in found], [int(output) for output, _ in found])

    def _measure(self, fed: Federation) -> dict[str, float]:
        """Record the metrics of the model on each site's rows and on those of all sites."""
        answers = self._tell(fed, "measure", fed.sample(self.min_clients))
        metrics = {metric.name: metric for metric in self._metrics}
        totals: dict[str, Any] = {}
        for site, answer in answers.items():
            values = {}
            for name, sums in answer["sums"].items():
                totals[name] = totals[name] + sums if name in totals else sums
                values[name] = metrics[name.partition("-")[2]].finish(sums)
            fed.record({name: value for name, value in values.items() if math.isfinite(value)}, site=site)
        names = sorted(totals, key=lambda name: name.startswith("train"))  # the more telling ones first
        pooled = {name: metrics[name.partition("-")[2]].finish(totals[name]) for name in names}
        fed.record({name: value for name, value in pooled.items() if math.isfinite(value)})
        return pooled

    def _stops(self, values: Mapping[str, float]) -> bool:
        """Return whether the last metric has not improved for long: on the rows to validate with, or else on all."""
        self._ends.append(self._made.num_rounds)
        metrics = self._metrics
        if self.early_stopping_rounds is None or not metrics:
            return False
        last = metrics[-1]
        if self._stopping is None:
            self._stopping = EarlyStopping(self.early_stopping_rounds, last.maximize)
        return self._stopping.stops(values.get(f"validation-{last.name}", values.get(f"train-{last.name}", math.nan)))

    def _conclude(self, fed: TrainingFederation) -> None:
        """Write the model, and show which features it uses."""
        model, stopping = self._made, self._stopping
        if stopping is not None and stopping.best_iteration >= 0:
            end, score = self._ends[stopping.best_iteration], float(stopping.best_score)
            fed.save(saved(model.slice(0, end)), name="best", metric=score, of_round=stopping.best_iteration)
            best = {"best_iteration": str(end - 1), "best_score": repr(score)}
            model = replace(model, attributes={**model.attributes, **best})
        fed.save(saved(model))
        write_model(fed, model, self._agreed.schema, self.save_name)


def _scaled(tree: Tree, share: float) -> Tree:
    """Return a tree with the values of its leaves times a share."""
    if share == 1:
        return tree
    factor = np.where(tree.is_leaf, np.float32(share), np.float32(1))
    return replace(tree, threshold=tree.threshold * factor, base_weight=tree.base_weight * factor)

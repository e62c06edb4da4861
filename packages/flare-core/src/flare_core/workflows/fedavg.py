"""Federated averaging."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from flare_core.aggregation import Aggregator, WeightedMean, check_finite
from flare_core.errors import RecipeError
from flare_core.model import FLModel
from flare_core.selection import BestScore, MetricMean, StopCondition
from flare_core.task import Reply, TaskName
from flare_core.workflow import Federation, Sample, Workflow

__all__ = ["FedAvg"]


class FedAvg(Workflow):
    """Send the global model to the sites, average what they return, repeat.

    Args:
        min_clients: how many sites a round needs; all that are there take part.
        num_rounds: number of rounds.
        aggregator: how contributions become an update; :class:`WeightedMean` if left out. Reset before each round.
        aggregation_weights: extra weight by site name, for the default aggregator.
        exclude_vars: keys that are not aggregated (expression or names), for the default aggregator.
        clients_per_round: how many sites take part in a round, drawn anew for each; all that are there if left out.
        key_metric: the metric that chooses the best model; None chooses none.
        key_metric_mode: ``max`` if higher is better, ``min`` if lower.
        stop_cond: a condition such as ``"accuracy >= 0.9"`` that ends the run early.
        patience: end the run after so many rounds without improvement of the metric that ``stop_cond`` names, else of
            ``key_metric``.
        task_name: the task that the sites are given.

    A round's metrics belong to the model that was sent out in it, so the best model is one that the sites received: the
    result of the last round is never among the candidates, as nobody measured it.

    Source: McMahan et al. 2017, arXiv:1602.05629, algorithm 1.
    """

    def __init__(
        self,
        *,
        min_clients: int,
        num_rounds: int,
        aggregator: Aggregator | None = None,
        aggregation_weights: Mapping[str, float] | None = None,
        exclude_vars: str | Iterable[str] | None = None,
        clients_per_round: int | None = None,
        key_metric: str | None = "accuracy",
        key_metric_mode: str = "max",
        stop_cond: str | None = None,
        patience: int | None = None,
        task_name: str = TaskName.TRAIN,
    ) -> None:
        if aggregator is not None and (aggregation_weights or exclude_vars):
            raise RecipeError(
                "aggregation_weights and exclude_vars are arguments of the default aggregator; with an aggregator of"
                " your own, give them to it"
            )
        self.min_clients = min_clients
        self.num_rounds = num_rounds
        self.aggregator = aggregator or WeightedMean(site_weights=aggregation_weights, exclude=exclude_vars)
        self.clients_per_round = clients_per_round
        self.key_metric = key_metric
        self.key_metric_mode = key_metric_mode
        self.stop_cond = StopCondition.parse(stop_cond) if stop_cond is not None else None
        self.patience = patience
        self.task_name = task_name
        self._best = BestScore(key_metric, key_metric_mode) if key_metric else None
        self._progress = self._watched()
        self._seen: set[str] = set()

    def run(self, fed: Federation) -> None:
        model = fed.load()
        for round_ in fed.rounds(self.num_rounds):
            self.aggregator.reset()
            metrics = MetricMean()
            for reply in fed.broadcast(self.task_name, self._outgoing(model, fed), to=self._sample(fed)):
                self.aggregator.add(reply)
                fed.record(metrics.add(reply, self._weight_of(reply)), site=reply.site)
            means = metrics.means()
            fed.record(means)
            self._choose(fed, model, metrics, means, round_)
            model = self._updated(model)
            fed.save(model)
            if self._should_stop(fed, means, round_):
                break
        self._report_unseen(fed)

    def state(self) -> dict[str, Any]:
        watched = {"best": self._best, "progress": self._progress}
        scores = {name: [score.value, score.round] for name, score in watched.items() if score is not None}
        return {**scores, "seen": sorted(self._seen)}

    def restore(self, state: Mapping[str, Any]) -> None:
        for name, score in (("best", self._best), ("progress", self._progress)):
            if score is not None and name in state:
                score.value, score.round = state[name]
        self._seen = set(state.get("seen", ()))

    def _sample(self, fed: Federation) -> Sample:
        return fed.sample(self.min_clients, count=self.clients_per_round)

    def _outgoing(self, model: FLModel, fed: Federation) -> FLModel:
        """What the sites are sent for the global model."""
        return model

    def _weight_of(self, reply: Reply) -> float:
        return self.aggregator.weight(reply) if isinstance(self.aggregator, WeightedMean) else reply.num_steps

    def _updated(self, model: FLModel) -> FLModel:
        model = self.aggregator.update(model)
        if not isinstance(self.aggregator, WeightedMean):  # which has looked at every contribution itself
            check_finite(model, source=f"the result of {type(self.aggregator).__name__}")
        return model

    def _choose(
        self, fed: Federation, model: FLModel, metrics: MetricMean, means: dict[str, float], round_: int
    ) -> None:
        self._seen.update(metrics.reported())
        for problem in metrics.problems:
            fed.warn(f"round {round_}: {problem}")
        if self._best is None:
            return
        missing = metrics.missing(self._best.key)
        if missing and self._best.key in metrics.reported():
            fed.warn(f"round {round_}: {', '.join(missing)} did not report '{self._best.key}'; the other sites decide")
        if self._best.improves(means.get(self._best.key), round_):
            fed.save(model, name="best", metric=self._best.value)

    def _watched(self) -> BestScore | None:
        if self.stop_cond is not None:
            return BestScore(self.stop_cond.key, self.stop_cond.mode)
        return BestScore(self.key_metric, self.key_metric_mode) if self.key_metric else None

    def _should_stop(self, fed: Federation, means: dict[str, float], round_: int) -> bool:
        if self.stop_cond is not None and self.stop_cond.met(means):
            return True
        watched = self._progress
        if self.patience is None or watched is None or watched.improves(means.get(watched.key), round_):
            return False
        return watched.round is not None and round_ - watched.round >= self.patience

    def _report_unseen(self, fed: Federation) -> None:
        for key in {self.key_metric, self.stop_cond.key if self.stop_cond else None} - {None, *self._seen}:
            if self._seen or self.stop_cond is not None:
                reported = ", ".join(sorted(self._seen)) or "none"
                fed.warn(
                    f"no site ever reported the metric '{key}' (reported: {reported}), so it chose and stopped nothing"
                )

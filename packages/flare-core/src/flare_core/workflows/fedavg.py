"""Federated averaging."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from flare_core.aggregation import Aggregator, WeightedMean, checked_result
from flare_core.errors import RecipeError
from flare_core.evaluator import Evaluator, measured
from flare_core.model import FLModel, ParamsType, flatten, key_text, updated
from flare_core.selection import BestScore, MeasuredModels, MetricMean, StopCondition
from flare_core.staleness import discount, rebased
from flare_core.task import Reply, TaskName
from flare_core.tensor_blocks import check_finite
from flare_core.workflow import Federation, Sample, Workflow
from flare_core.workflows.advice import WeightsSeen, direction_warning, exclusion_warning

__all__ = ["FedAvg", "applied"]

DEFAULT_KEY_METRIC = "accuracy"


class FedAvg(Workflow):
    """Send the global model to the sites, average what they return, repeat.

    Args:
        min_clients: how many sites a round needs; all that are there take part.
        num_rounds: number of rounds.
        aggregator: how contributions become an update; :class:`WeightedMean` if left out. Reset before each round.
        aggregation_weights: extra weight by site name, for the default aggregator.
        exclude_vars: keys that are not aggregated (expression or names), for the default aggregator.
        clients_per_round: how many sites take part in a round, drawn anew for each; all that are there if left out.
        quorum: how many replies end a round; the other sites go on with the model that they have, and their replies
            count in a later round. All that take part must reply if left out, and a quorum of all is the same.
        staleness_exponent: a reply that is so many rounds old counts ``(1 + rounds)^-exponent`` of its difference to
            the model that its site was given; 0 counts all of it. See :mod:`flare_core.staleness`.
        max_staleness: replies that are more rounds old are dropped.
        key_metric: the metric that chooses the best model; None chooses none.
        key_metric_mode: ``max`` if higher is better, ``min`` if lower.
        stop_cond: a condition such as ``"accuracy >= 0.9"`` that ends the run early.
        patience: end the run after so many rounds without improvement of the metric that ``stop_cond`` names, else of
            ``key_metric``.
        evaluator: measures each new global model at the server. What it measures counts instead of what the sites
            report under the same names, and belongs to the model that the round has made.
        task_name: the task that the sites are given.

    Raises:
        RecipeError: arguments of the default aggregator are given besides another one, or ``stop_cond`` is none.

    A round's metrics belong to the model that was sent out in it, so the best model is one that the sites received: the
    result of the last round is never among the candidates, as nobody measured it. With a robust aggregator, the median
    over the sites counts, of metrics that more than half of them reported. With a quorum, a round's metrics are
    those of the replies that ended it, whatever model they measured; a model can become the best when ``quorum`` sites
    have measured it, in whichever rounds.

    Source: McMahan et al. 2017, arXiv:1602.05629, algorithm 1. With a quorum: Nguyen et al. 2022, arXiv:2106.06639,
    algorithm 1, with contributions weighted as in the former.
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
        quorum: int | None = None,
        staleness_exponent: float = 0.5,
        max_staleness: int = 10,
        key_metric: str | None = DEFAULT_KEY_METRIC,
        key_metric_mode: str = "max",
        stop_cond: str | None = None,
        patience: int | None = None,
        evaluator: Evaluator | None = None,
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
        self.quorum = quorum
        self.staleness_exponent = staleness_exponent
        self.max_staleness = max_staleness
        self.key_metric = key_metric
        self.key_metric_mode = key_metric_mode
        self.stop_cond = StopCondition.parse(stop_cond) if stop_cond is not None else None
        self.patience = patience
        self.evaluator = evaluator
        self.task_name = task_name
        self._best = BestScore(key_metric, key_metric_mode) if key_metric else None
        self._progress = self._watched()
        self._measured = MeasuredModels(max_staleness, robust=self.aggregator.is_robust) if quorum is not None else None
        self._needed = 0
        self._seen: set[str] = set()
        self._unusable: set[str] = set()  # metrics that were not numbers
        self._weights = WeightsSeen()
        self._kind: ParamsType | None = None  # of the round's contributions
        self._notes: list[str] = []

    def run(self, fed: Federation) -> None:
        model = fed.load()
        self._check_settings(fed, model)
        for round_ in fed.rounds(self.num_rounds):
            self.aggregator.reset()
            metrics = MetricMean(robust=self.aggregator.is_robust)
            for reply in self._replies(model, fed):
                self._kind = reply.model.params_type
                self.aggregator.add(reply)
                self._check_weight(fed, reply)
                weight = self._weight_of(reply)
                fed.record(metrics.add(reply, weight), site=reply.site)
                if self._measured is not None:
                    self._measured.add(reply, weight)
            means = metrics.means()
            new = self._updated(model, round_)
            while self._notes:
                fed.warn(self._notes.pop())
            own = measured(self.evaluator, fed.in_framework(new)) if self.evaluator is not None else {}
            means |= own
            fed.record(means)
            self._note(fed, metrics, own, round_)
            if self.key_metric not in own:  # the sites have measured the model that they were given
                self._choose(fed, model, metrics, means, round_)
            model = new
            fed.save(model)
            if self.key_metric in own and self._best is not None and self._best.improves(own[self._best.key], round_):
                self._keep_best(fed, model, self._best.value)
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

    def _check_settings(self, fed: Federation, model: FLModel) -> None:
        """Warn of settings that have no effect in this run, or that contradict the name of a metric.

        Raises:
            RecipeError: nothing of the model would be aggregated.
        """
        for name, count in (("clients_per_round", self.clients_per_round), ("quorum", self.quorum)):
            if count is not None and count > len(fed.sites):
                fed.warn(f"{name} is {count}, but the run has {len(fed.sites)} sites; all of them are taken")
        if self.key_metric is not None and (
            text := direction_warning(
                self.key_metric, self.key_metric_mode, f"key_metric_mode={self.key_metric_mode!r}"
            )
        ):
            fed.warn(text)
        if self.stop_cond is not None and self.stop_cond.symbol != "=":
            text = direction_warning(self.stop_cond.key, self.stop_cond.mode, f"stop_cond with {self.stop_cond.symbol}")
            if text is not None:
                fed.warn(text)
        values = dict(flatten(model.params or {}))
        if not isinstance(self.aggregator, WeightedMean) or not values:
            return
        if text := exclusion_warning(self.aggregator, [key_text(key) for key in values]):
            fed.warn(text)
        if all(np.asarray(value).dtype.kind in "iub" for value in values.values()):
            fed.warn("the model holds integers only, so every mean is rounded; start from floating-point numbers")

    def _check_weight(self, fed: Federation, reply: Reply) -> None:
        """Warn of weights that seem forgotten; other aggregators may read other entries of ``meta``, or none."""
        if isinstance(self.aggregator, WeightedMean):
            for text in self._weights.warnings(reply):
                fed.warn(text)

    def _sample(self, fed: Federation) -> Sample:
        return fed.sample(self.min_clients, count=self.clients_per_round)

    def _replies(self, model: FLModel, fed: Federation) -> Iterator[Reply]:
        """The round's replies, each as if its site had been given the global model."""
        outgoing, sample = self._outgoing(model, fed), self._sample(fed)
        self._needed = min(self.quorum or len(sample), len(sample))
        if self.quorum is None:
            yield from fed.broadcast(self.task_name, outgoing, to=sample)
            return
        for reply in fed.collect(
            self.task_name, outgoing, to=sample, quorum=self.quorum, max_staleness=self.max_staleness
        ):
            age = (fed.round or 0) - (reply.round or 0)
            yield reply if age == 0 else rebased(reply, model, discount(age, self.staleness_exponent))

    def _outgoing(self, model: FLModel, fed: Federation) -> FLModel:
        """What the sites are sent for the global model."""
        return model

    def _weight_of(self, reply: Reply) -> float:
        return self.aggregator.weight(reply) if isinstance(self.aggregator, WeightedMean) else reply.num_steps

    def _updated(self, model: FLModel, round_: int) -> FLModel:
        return applied(self.aggregator, model, self._kind, self._notes.append)

    def _note(self, fed: Federation, metrics: MetricMean, own: Mapping[str, float], round_: int) -> None:
        """Take note of which metrics there are, and say what is wrong with them."""
        self._seen.update(metrics.reported(), own)
        for problem in metrics.problems:
            fed.warn(f"round {round_}: {problem}")
        for key, text in metrics.not_numbers.items():
            if key not in self._unusable:  # it is so in every round, and mostly at every site
                fed.warn(text)
        self._unusable.update(metrics.not_numbers)

    def _choose(
        self, fed: Federation, model: FLModel, metrics: MetricMean, means: dict[str, float], round_: int
    ) -> None:
        """Keep the model that the sites were given if it is the best so far."""
        if self._best is None:
            return
        missing = metrics.missing(self._best.key)
        if missing and self._best.key in metrics.reported():
            then = "the other sites decide" if self._best.key in means else "too few sites are left to choose by it"
            fed.warn(f"round {round_}: {', '.join(missing)} did not report '{self._best.key}'; {then}")
        if self._measured is not None:
            for older, its_round, value in self._measured.take(self._best.key, needed=self._needed, round_=round_):
                if self._best.improves(value, its_round):
                    fed.save(older, name="best", metric=value, of_round=its_round)
        elif self._best.improves(means.get(self._best.key), round_):
            self._keep_best(fed, model, self._best.value)

    def _keep_best(self, fed: Federation, model: FLModel, value: float | None) -> None:
        fed.save(model, name="best", metric=value)

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

    def _chosen_by(self) -> set[str]:
        """The metrics that choose the best model or end the run."""
        names = (self.key_metric, self.stop_cond.key if self.stop_cond else None)
        return {name for name in names if name is not None}

    def _report_unseen(self, fed: Federation) -> None:
        is_wanted = self.stop_cond is not None or self.patience is not None or self.key_metric != DEFAULT_KEY_METRIC
        for key in sorted(self._chosen_by() - self._seen):
            if self._seen or self._unusable or is_wanted:  # else the run is simply one without metrics
                reported = ", ".join(sorted(self._seen)) or "none"
                if self._unusable and not self._seen:
                    reported += f"; not numbers: {', '.join(sorted(self._unusable))}"
                fed.warn(f"no site ever reported the metric '{key}' (reported: {reported}), so it had no effect")


def applied(aggregator: Aggregator, model: FLModel, kind: ParamsType | None, warn: Callable[[str], None]) -> FLModel:
    """Return the next global model: ``model`` with what an aggregator was given.

    Args:
        aggregator: has been given the contributions of a round.
        model: the global model.
        kind: what the contributions were.
        warn: is called if the result seems to be a difference, but is declared as a whole model.
    Raises:
        NonFiniteError: the next model would hold NaN or infinity.
        ModelError: the aggregator's result is not a model with params.
    """
    if isinstance(aggregator, WeightedMean):  # it looks at every contribution itself
        return aggregator.update(model)
    name = type(aggregator).__name__
    if type(aggregator).update is not Aggregator.update:
        model = aggregator.update(model)
    else:
        result = checked_result(aggregator)
        if kind is ParamsType.DIFF and result.params_type is ParamsType.FULL:
            warn(
                f"{name}.result() returned a whole model (params_type FULL) where sites sent differences; if it is a"
                " difference, have it return FLModel(params_type='DIFF', params=...)"
            )
        model = updated(model, result)
    check_finite(model, source=f"the result of {name}")
    return model

"""Callbacks: follow the rounds of a run, choose its best model, measure models at the server, end the run early.

A workflow gives its callbacks to a :class:`~flare_core.monitor.Monitor`, which calls them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flare_core.advice import direction_warning
from flare_core.errors import JobError
from flare_core.evaluator import Evaluator, measured
from flare_core.model import FLModel
from flare_core.selection import BestScore, MeasuredModel, MetricMean, StopCondition
from flare_core.task import Reply
from flare_core.workflow import TrainingFederation

DEFAULT_KEY_METRIC = "accuracy"


@dataclass(slots=True)
class RoundOutcome:
    """The outcome of a round.

    Attributes:
        round: its number, from 0.
        received: the model that the sites were given; without params in a swarm, where the server has none.
        made: the model that the round made; None in a swarm.
        metrics: the averages over the sites, and the metrics that callbacks measured at the server.
        server_metrics: names of the latter, which belong to ``made``; the others belong to ``received``.
        measured: the models that enough sites have measured by now, with the sites' averages: ``received`` or, with a
            quorum, none or several of this and earlier rounds.
        reports: the sites' metrics of this round.
        is_last: whether the run ends after this round.
    """

    round: int
    received: FLModel
    made: FLModel | None
    metrics: dict[str, float]
    server_metrics: frozenset[str]
    measured: Sequence[MeasuredModel]
    reports: MetricMean
    is_last: bool = False

    def stop(self) -> None:
        """End the run after this round."""
        self.is_last = True


class Callback:
    """A part of a workflow that follows its rounds.

    Each method does nothing unless it is overridden. They run in the server's process, between the steps of the
    workflow, which waits for them; an exception ends the run.
    """

    def reads(self) -> Sequence[str]:
        """Return the names of the metrics that it needs. If one is never reported, the run ends with a warning."""
        return ()

    def started(self, fed: TrainingFederation, model: FLModel) -> None:
        """Handle the start of the run, also of one that is continued; ``model`` is the model to start from."""

    def replied(self, fed: TrainingFederation, reply: Reply, weight: float) -> None:
        """Handle a site's reply.

        Args:
            fed: the run.
            reply: has the site's metrics and ``meta``; its tensors are for the workflow alone to read.
            weight: the weight of its metrics in the averages.
        """

    def evaluate(self, fed: TrainingFederation, model: FLModel) -> Mapping[str, float]:
        """Return metrics of the model that the round made; they replace averages of the same name."""
        return {}

    def averaged(self, fed: TrainingFederation, outcome: RoundOutcome) -> None:
        """Handle the metrics of a round, before the model that it made is saved."""

    def round_ended(self, fed: TrainingFederation, outcome: RoundOutcome) -> None:
        """Handle the end of a round, whose model is saved; ``outcome.stop()`` makes it the last."""

    def run_ended(self, fed: TrainingFederation) -> None:
        """Handle the end of the last round; not called for a run that fails."""

    def state(self) -> Mapping[str, Any]:
        """Return what must survive a crash of the server: by name, values that JSON has."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore the :meth:`state` after the last completed round; called before :meth:`started`.

        Raises:
            JobError: the callback has a ``state`` method, but no ``restore``.
        """
        if state:
            raise JobError(f"{type(self).__name__} has a state(), so it needs a restore(state) as well")


class _ByMetric(Callback):
    """A callback that looks for the best value of a metric."""

    _best: BestScore

    def reads(self) -> Sequence[str]:
        return (self._best.key,)

    def state(self) -> Mapping[str, Any]:
        return {"best": [self._best.value, self._best.round]}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._best.value, self._best.round = state["best"]


@dataclass(eq=False)
class BestModel(_ByMetric):
    """Save the model with the best value of a metric as ``best``.

    A metric that the sites report belongs to the model that they received, so the model of the last round is no
    candidate: no site has measured it. A metric that was measured at the server belongs to the model that the round
    made. On a tie, the earlier model stays.

    Args:
        key_metric: the metric's name.
        key_metric_mode: ``max`` if higher is better, ``min`` if lower.

    Raises:
        RecipeError: ``key_metric_mode`` is neither.
    """

    key_metric: str = DEFAULT_KEY_METRIC
    key_metric_mode: str = "max"

    def __post_init__(self) -> None:
        self._best = BestScore(self.key_metric, self.key_metric_mode)

    def started(self, fed: TrainingFederation, model: FLModel) -> None:
        mode = self.key_metric_mode
        if text := direction_warning(self.key_metric, mode, f"key_metric_mode={mode!r}"):
            fed.warn(text)

    def averaged(self, fed: TrainingFederation, outcome: RoundOutcome) -> None:
        key = self.key_metric
        if key in outcome.server_metrics:
            return
        if key in outcome.reports.reported() and (missing := outcome.reports.missing(key)):
            then = "the other sites decide" if key in outcome.metrics else "too few sites are left to choose by it"
            fed.warn(f"round {outcome.round}: {', '.join(missing)} did not report '{key}'; {then}")
        for model, round_, metrics in outcome.measured:
            self._offer(fed, model, metrics.get(key), round_)

    def round_ended(self, fed: TrainingFederation, outcome: RoundOutcome) -> None:
        if self.key_metric in outcome.server_metrics and outcome.made is not None:
            self._offer(fed, outcome.made, outcome.metrics[self.key_metric], outcome.round)

    def keep(self, fed: TrainingFederation, model: FLModel, value: float | None, round_: int) -> None:
        """Save a model that is better than those before.

        Args:
            fed: the run.
            model: the model.
            value: its value of the metric.
            round_: the round in which the sites were given it or, if the server measured it, that made it.
        """
        fed.save(model, name="best", metric=value, of_round=round_)

    def _offer(self, fed: TrainingFederation, model: FLModel, value: float | None, round_: int) -> None:
        if self._best.improves(value, round_):
            self.keep(fed, model, value, round_)


@dataclass(eq=False)
class EarlyStopping(_ByMetric):
    """End the run early, when a metric reaches a target or has stopped improving.

    Args:
        stop_cond: a condition such as ``"accuracy >= 0.9"`` that ends the run.
        patience: end the run after so many rounds, at least 1, without improvement of the metric that ``stop_cond``
            names, else of ``key_metric``. Rounds before its first value do not count.
        key_metric: the metric's name.
        key_metric_mode: ``max`` if higher is better, ``min`` if lower.

    Raises:
        RecipeError: ``stop_cond`` cannot be read, or ``key_metric_mode`` is neither.
    """

    stop_cond: str | None = None
    patience: int | None = None
    key_metric: str = DEFAULT_KEY_METRIC
    key_metric_mode: str = "max"

    def __post_init__(self) -> None:
        self._target = target = None if self.stop_cond is None else StopCondition.parse(self.stop_cond)
        self._best = BestScore(self.key_metric, self.key_metric_mode)
        if target is not None:
            self._best = BestScore(target.key, target.mode)

    def started(self, fed: TrainingFederation, model: FLModel) -> None:
        target = self._target
        if target is None or target.symbol == "=":
            return
        if text := direction_warning(target.key, target.mode, f"stop_cond with {target.symbol}"):
            fed.warn(text)

    def round_ended(self, fed: TrainingFederation, outcome: RoundOutcome) -> None:
        best = self._best
        best.improves(outcome.metrics.get(best.key), outcome.round)
        stuck = 0 if best.round is None else outcome.round - best.round  # rounds without improvement
        is_met = self._target is not None and self._target.met(outcome.metrics)
        if is_met or (self.patience is not None and stuck >= self.patience):
            outcome.stop()


@dataclass(eq=False)
class ServerEvaluation(Callback):
    """Measure each new global model at the server.

    Args:
        evaluator: measures it; its metrics replace those of the same name that sites report.
    """

    evaluator: Evaluator

    def evaluate(self, fed: TrainingFederation, model: FLModel) -> Mapping[str, float]:
        return measured(self.evaluator, fed.in_framework(model))

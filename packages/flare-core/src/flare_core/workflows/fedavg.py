"""Federated averaging."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from flare_core.advice import mean_warnings
from flare_core.aggregation import Aggregator, WeightedMean, checked_result
from flare_core.callbacks import Callback
from flare_core.errors import RecipeError
from flare_core.model import FLModel, ParamsType, updated
from flare_core.monitor import Monitor
from flare_core.staleness import discount, rebased
from flare_core.task import Reply, Sample, TaskName, WeightsSeen
from flare_core.tensor_blocks import check_finite
from flare_core.workflow import TrainingFederation, Workflow

logger = logging.getLogger(__name__)


class FedAvg(Workflow):
    """Send the global model to the sites, average the models that they return, and repeat.

    Args:
        min_clients: number of sites that a round needs; all connected sites take part.
        num_rounds: number of rounds.
        aggregator: combines the contributions of a round; :class:`WeightedMean` by default.
        aggregation_weights: extra weight by site name, for the default aggregator.
        exclude_vars: keys that are not aggregated (expression or names), for the default aggregator.
        clients_per_round: number of sites that take part in a round, drawn for each; all connected sites by default.
        quorum: number of replies that end a round; the other sites continue training, and their replies count in a
            later round. By default, all sites of the round must reply.
        staleness_exponent: a reply that is ``age`` rounds old counts ``(1 + age)^-exponent`` of its difference to the
            model that its site received; 0 counts all of it. See :mod:`flare_core.staleness`.
        max_staleness: older replies, in rounds, are dropped.
        callbacks: choose the best model, measure models at the server, end the run early, or follow the rounds; see
            :mod:`flare_core.callbacks`. They are called in this order.

    Raises:
        RecipeError: arguments of the default aggregator are given along with another one.

    The metrics of a round belong to the model that was sent out in it. With a robust aggregator, they are medians over
    the sites, of metrics that more than half of them reported. With a quorum, they are those of the replies that ended
    the round, whichever models were measured; a model can become the best once ``quorum`` sites have measured it.

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
        callbacks: Sequence[Callback] = (),
    ) -> None:
        if aggregator is not None and (aggregation_weights or exclude_vars):
            raise RecipeError(
                "aggregation_weights and exclude_vars are arguments of the default aggregator; pass them to yours"
            )
        self.min_clients = min_clients
        self.num_rounds = num_rounds
        self.aggregator = aggregator or WeightedMean(site_weights=aggregation_weights, exclude=exclude_vars)
        self.clients_per_round = clients_per_round
        self.quorum = quorum
        self.staleness_exponent = staleness_exponent
        self.max_staleness = max_staleness
        self.callbacks = list(callbacks)
        max_age = None if quorum is None else max_staleness
        self._monitor = Monitor(self.callbacks, robust=self.aggregator.is_robust, max_age=max_age)
        self._needed = 0  # number of replies that end the round
        self._weights = WeightsSeen()
        self._kind: ParamsType | None = None  # the type of the round's contributions
        self._warn: Callable[[str], None] = logger.warning  # replaced by fed.warn in a run

    def run(self, fed: TrainingFederation) -> None:
        model = fed.load()
        self._begin(fed, model)
        for round_ in fed.rounds(self.num_rounds):
            self.aggregator.reset()
            for reply in self._replies(model, fed):
                self.aggregator.add(reply)
                self._record(fed, reply)
                if not self.aggregator.keeps_replies:
                    reply.release()
            new = self._updated(model, round_)
            self._monitor.averaged(fed, model, new, needed=self._needed)
            model = new
            fed.save(model)
            if self._monitor.round_ended(fed):
                break
        self._monitor.run_ended(fed)

    @property
    def key_metric(self) -> str | None:
        """The metric that chooses the best model; None if none is chosen."""
        return self._monitor.key_metric

    def state(self) -> dict[str, Any]:
        return self._monitor.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        self._monitor.restore(state)

    def _begin(self, fed: TrainingFederation, model: FLModel) -> None:
        """Start the callbacks, and warn about settings that have no effect in this run."""
        self._warn = fed.warn
        for name, count in (("clients_per_round", self.clients_per_round), ("quorum", self.quorum)):
            if count is not None and count > len(fed.sites):
                fed.warn(f"{name} is {count}, but the run has {len(fed.sites)} sites; using all of them")
        self._monitor.started(fed, model)
        if isinstance(self.aggregator, WeightedMean):
            for text in mean_warnings(self.aggregator, model):
                fed.warn(text)

    def _sample(self, fed: TrainingFederation) -> Sample:
        return fed.sample(self.min_clients, count=self.clients_per_round)

    def _replies(self, model: FLModel, fed: TrainingFederation) -> Iterator[Reply]:
        """Yield the round's replies, with stale ones rebased to the global model."""
        outgoing, sample = self._outgoing(model, fed), self._sample(fed)
        self._needed = min(self.quorum or len(sample), len(sample))
        if self.quorum is None:
            yield from fed.broadcast(TaskName.TRAIN, outgoing, to=sample)
            return
        for reply in fed.collect(
            TaskName.TRAIN, outgoing, to=sample, quorum=self.quorum, max_staleness=self.max_staleness
        ):
            age = (fed.round or 0) - (reply.round or 0)
            yield reply if age == 0 else rebased(reply, model, discount(age, self.staleness_exponent))

    def _outgoing(self, model: FLModel, fed: TrainingFederation) -> FLModel:
        """Return the model to send for the global model."""
        return model

    def _record(self, fed: TrainingFederation, reply: Reply) -> None:
        """Record the metrics of a reply, and warn if its weight seems to be missing."""
        self._kind, weight = reply.model.params_type, reply.num_steps
        if isinstance(self.aggregator, WeightedMean):  # other aggregators may not read the weight
            weight = self.aggregator.weight(reply)
            for text in self._weights.warnings(reply):
                fed.warn(text)
        self._monitor.replied(fed, reply, weight)

    def _updated(self, model: FLModel, round_: int) -> FLModel:
        """Return the next global model."""
        return applied(self.aggregator, model, self._kind, self._warn)


def applied(aggregator: Aggregator, model: FLModel, kind: ParamsType | None, warn: Callable[[str], None]) -> FLModel:
    """Return the next global model: ``model`` with the result of an aggregator applied.

    Args:
        aggregator: the aggregator, after the contributions of a round were added.
        model: the global model.
        kind: the type of the contributions.
        warn: called if the result seems to be a difference, but is declared as a whole model.
    Raises:
        NonFiniteError: the next model would hold NaN or infinity.
        ModelError: the aggregator's result is not a model with params.
    """
    if isinstance(aggregator, WeightedMean):  # it has checked every contribution itself
        return aggregator.update(model)
    name = type(aggregator).__name__
    if type(aggregator).update is not Aggregator.update:
        model = aggregator.update(model)
    else:
        result = checked_result(aggregator)
        if kind is ParamsType.DIFF and result.params_type is ParamsType.FULL:
            warn(
                f"{name}.result() returned a whole model (params_type FULL) although the sites sent differences; if it"
                " is a difference, return FLModel(params_type='DIFF', params=...)"
            )
        model = updated(model, result)
    check_finite(model, source=f"the result of {name}")
    return model

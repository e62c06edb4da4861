"""The monitor of a run: averages and records the metrics of its rounds, and calls the callbacks of its workflow.

A workflow calls the monitor from its loop:

    monitor.started(fed, model)
    for _ in fed.rounds(self.num_rounds):
        mean = WeightedMean()
        for reply in fed.broadcast("train", model, to=fed.sample(self.min_clients)):
            mean.add(reply)
            monitor.replied(fed, reply)
        received, model = model, mean.update(model)
        monitor.averaged(fed, received, model)
        fed.save(model)
        if monitor.round_ended(fed):
            break
    monitor.run_ended(fed)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flare_core.callbacks import DEFAULT_KEY_METRIC, BestModel, Callback, RoundOutcome
from flare_core.evaluator import measured
from flare_core.model import FLModel
from flare_core.selection import MeasuredModels, MetricMean
from flare_core.task import Reply
from flare_core.workflow import TrainingFederation


class Monitor:
    """Average the metrics of each round, record them, and call the callbacks of a workflow in their order.

    Args:
        callbacks: the callbacks.
        robust: take medians over the sites instead of weighted means; see :class:`~flare_core.selection.MetricMean`.
        max_age: with a quorum, after how many rounds a model that too few sites have measured is given up; None if all
            replies of a round belong to the model that was sent out in it.

    Attributes:
        key_metric: the metric that chooses the best model; None if none is chosen.
    """

    def __init__(self, callbacks: Sequence[Callback] = (), *, robust: bool = False, max_age: int | None = None) -> None:
        self._callbacks = list(callbacks)
        self._robust = robust
        self._models = MeasuredModels(max_age, robust=robust) if callbacks and max_age is not None else None
        self._means = MetricMean(robust=robust)
        self._outcome: RoundOutcome | None = None
        self._seen: set[str] = set()
        self._unusable: set[str] = set()  # metrics that were not numbers
        self.key_metric = next((each.key_metric for each in self._callbacks if isinstance(each, BestModel)), None)

    def started(self, fed: TrainingFederation, model: FLModel) -> None:
        """Call the callbacks at the start of the run, with the model to start from."""
        for each in self._callbacks:
            each.started(fed, model)

    def replied(self, fed: TrainingFederation, reply: Reply, weight: float | None = None) -> None:
        """Record the metrics of a reply.

        Args:
            fed: the run.
            reply: the reply.
            weight: the weight of its metrics in the averages; the site's steps by default.
        """
        weight = reply.num_steps if weight is None else weight
        fed.record(self._means.add(reply, weight), site=reply.site)
        if self._models is not None:
            self._models.add(reply, weight)
        for each in self._callbacks:
            each.replied(fed, reply, weight)

    def averaged(
        self, fed: TrainingFederation, received: FLModel, made: FLModel | None = None, *, needed: int = 1
    ) -> None:
        """Record the metrics of a round, all of whose replies were given to :meth:`replied`.

        Args:
            fed: the run.
            received: the model that the sites were given.
            made: the model that the round made, to be measured at the server; None if the server has none.
            needed: with a quorum, how many sites must have measured a model.
        """
        reports, self._means = self._means, MetricMean(robust=self._robust)
        round_, means, own = fed.round or 0, reports.means(), dict[str, float]()
        for each in self._callbacks if made is not None else ():
            own |= measured(each, fed, made)
        fed.record(means | own)
        self._note(fed, reports, own)
        models = [(received, round_, means)]
        if self._models is not None:
            models = self._models.take(needed=needed, round_=round_)
        self._outcome = RoundOutcome(round_, received, made, means | own, frozenset(own), models, reports)
        for each in self._callbacks:
            each.averaged(fed, self._outcome)

    def round_ended(self, fed: TrainingFederation) -> bool:
        """Return whether the run ends after this round; called when its model is saved."""
        outcome, self._outcome = self._outcome, None
        assert outcome is not None
        for each in self._callbacks:
            each.round_ended(fed, outcome)
        return outcome.is_last

    def run_ended(self, fed: TrainingFederation) -> None:
        """Warn of metrics that callbacks needed and no site reported, and call the callbacks after the last round."""
        self._warn_unseen(fed)
        for each in self._callbacks:
            each.run_ended(fed)

    def state(self) -> dict[str, Any]:
        """Return what must survive a crash of the server, the callbacks' states included."""
        return {"seen": sorted(self._seen), "callbacks": [each.state() for each in self._callbacks]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore a state that :meth:`state` returned; other entries are ignored."""
        self._seen = set(state["seen"])
        for each, kept in zip(self._callbacks, state["callbacks"], strict=True):
            each.restore(kept)

    def _note(self, fed: TrainingFederation, reports: MetricMean, own: Mapping[str, float]) -> None:
        self._seen.update(reports.reported(), own)
        for problem in reports.problems:
            fed.warn(f"round {fed.round}: {problem}")
        for key, text in reports.not_numbers.items():
            if key not in self._unusable:  # it is so in every round, and mostly at every site
                fed.warn(text)
        self._unusable.update(reports.not_numbers)

    def _warn_unseen(self, fed: TrainingFederation) -> None:
        readers = [each for each in self._callbacks if each.reads()]
        is_asked = any(not isinstance(each, BestModel) or each.key_metric != DEFAULT_KEY_METRIC for each in readers)
        for key in sorted({key for each in readers for key in each.reads()} - self._seen):
            if self._seen or self._unusable or is_asked:  # else the run is simply one without metrics
                reported = ", ".join(sorted(self._seen)) or "none"
                if self._unusable and not self._seen:
                    reported += f"; not numbers: {', '.join(sorted(self._unusable))}"
                fed.warn(f"no site ever reported the metric '{key}' (reported: {reported}), so it had no effect")

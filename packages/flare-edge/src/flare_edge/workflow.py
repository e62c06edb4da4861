"""The workflow of a run with devices: each version of the model is a round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flare_core import Conversation, FLModel, Workflow
from flare_core.components import import_class
from flare_core.evaluator import Evaluator, measured
from flare_core.events import Event, MetricLogged
from flare_core.optimizers import ServerOptimizer
from flare_core.selection import BestScore
from flare_core.workflow import TrainingFederation
from flare_edge.errors import EdgeError
from flare_edge.executor import SERVE
from flare_edge.fedbuff import FedBuffSettings
from flare_edge.scores import Scores
from flare_edge.server import EdgeServer
from flare_edge.tree.news import News, Params
from flare_edge.tree.root import Root
from flare_edge.tree.topology import Topology

KEPT_MODELS = 10
"""Evaluations of versions that are older are recorded, but no longer choose the best model."""


class _RungError(Exception):
    """There may be news."""


class EdgeWorkflow(Workflow):
    """Follows the root of the tree, saves what it makes, and records it.

    Args:
        settings: the values of a :class:`~flare_edge.fedbuff.FedBuffSettings`.
        seed: of the choice of devices.
        tree: by inner node, the sites that report to it.
        min_clients: the run fails if fewer sites are connected for too long.
        optimizer: the server's optimizer; None adds the mean update.
        key_metric: chooses the best model.
        key_metric_mode: ``max`` if higher is better, ``min`` if lower is.
        device_wait_timeout: the run fails after so many seconds without a device that works; None: never.
        evaluator: evaluates versions at the server; by default the function that the settings name.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        seed: int = 0,
        tree: Mapping[str, Sequence[str]] | None = None,
        min_clients: int = 1,
        optimizer: ServerOptimizer | None = None,
        key_metric: str = "accuracy",
        key_metric_mode: str = "max",
        device_wait_timeout: float | None = None,
        evaluator: Evaluator | None = None,
    ) -> None:
        self.settings = FedBuffSettings.from_data(settings)
        evaluation = self.settings.evaluation
        if evaluator is None and evaluation is not None and evaluation.function is not None:
            evaluator = _Function(evaluation.function)
        self.evaluator = evaluator
        self.seed = seed
        self.tree = dict(tree or {})
        self.min_clients = min_clients
        self.optimizer = optimizer
        self.key_metric = key_metric
        self.device_wait_timeout = device_wait_timeout
        self._best = BestScore(key_metric, key_metric_mode)
        self._scores = Scores(-(-self.settings.models.num_updates_for_model // 2))
        self._models: dict[int, Params] = {}  # the newest, one of which may still become the best
        self._root_state: Mapping[str, Any] | None = None
        self._serving: Conversation | None = None
        self._is_waiting = False

    def run(self, fed: TrainingFederation) -> None:
        for remark in self.settings.remarks():
            fed.warn(remark)
        topology = Topology(fed.sites, self.tree)
        topology.check()
        fed.events.subscribe(Event, self._note)  # after those that record it: this one may raise
        root: Root | None = None
        try:
            for round_ in fed.rounds(self._rounds):
                if root is None:
                    root = self._begin(fed, topology)
                    fed.checkpoint()  # before any order goes out: no ticket may be given twice
                else:
                    fed.load()  # waits until the round before is on disk
                root.proceed()
                self._follow(fed, root, round_ + 1)
        finally:
            self._is_waiting = False
            if root is not None:
                root.close()

    def state(self) -> dict[str, Any]:
        root = self._root_state or {}
        optimizer = {f"optimizer.{name}": value for name, value in root.get("optimizer", {}).items()}
        plain = {name: value for name, value in root.items() if name != "optimizer"}
        best = [self._best.value, self._best.round]
        return {"root": plain, "scores": self._scores.state(), "best": best, **optimizer}

    def restore(self, state: Mapping[str, Any]) -> None:
        if not state.get("root"):
            return
        optimizer = {
            name.removeprefix("optimizer."): value for name, value in state.items() if name.startswith("optimizer.")
        }
        self._root_state = {**state["root"], "optimizer": optimizer}
        self._scores.restore(state["scores"])
        self._best.value, self._best.round = state["best"]

    def _begin(self, fed: TrainingFederation, topology: Topology) -> Root:
        model = fed.load()
        params = dict(model.params or {})
        for name, value in params.items():
            if not hasattr(value, "dtype"):
                raise EdgeError(f"the model has a part {name!r} with parts of its own; give arrays by name")
        root = EdgeServer.of(fed.job_id).begin(
            topology,
            self.settings,
            self.seed,
            params,
            optimizer=self.optimizer,
            state=self._root_state,
            device_wait_timeout=self.device_wait_timeout,
        )
        self._root_state = root.state()
        self._models[root.version] = params
        return root

    @property
    def _rounds(self) -> int:
        """One for each version, and one for the evaluation of the last version by devices."""
        evaluation = self.settings.evaluation
        return self.settings.models.max_model_version + bool(evaluation and evaluation.num_devices)

    def _follow(self, fed: TrainingFederation, root: Root, version: int) -> None:
        """Wait until a version is made, and save it; after the last, wait until it is evaluated."""
        while True:
            news = self._await_news(fed, root)
            if news.made is not None:
                self._root_state = news.made.state
                self._models[version] = news.made.params
                self._save(fed, news)
            self._judge(fed, news)
            if news.dropped:
                fed.record({"updates_dropped": float(news.dropped)})
            if news.made is not None or news.is_over:
                break
        self._models = {each: params for each, params in self._models.items() if each > version - KEPT_MODELS}

    def _await_news(self, fed: TrainingFederation, root: Root) -> News:
        """Wait until the root has news; meanwhile, the run fails if a site does."""
        while True:
            if self._serving is None or not self._serving.awaited:
                self._serving = fed.ask(SERVE, to=fed.sample(self.min_clients))
            if news := root.take():  # only now: choosing the sites may have taken notice of what had rung
                return news
            self._wait(self._serving)

    def _wait(self, serving: Conversation) -> None:
        self._is_waiting = True
        try:
            for _ in serving.as_completed():
                pass
        except _RungError:
            return
        finally:
            self._is_waiting = False

    def _note(self, event: Event) -> None:
        """Interrupt the wait when the root has rung; an event is handled on the thread that waits."""
        if self._is_waiting and isinstance(event, MetricLogged) and event.key == "version" and event.site is None:
            raise _RungError

    def _save(self, fed: TrainingFederation, news: News) -> None:
        """Save and record a new version."""
        assert news.made is not None
        new = news.made.version
        fed.save(FLModel(params=dict(news.made.params)))
        ages = new.ages
        own = {
            "updates": float(new.count),
            "staleness": sum(age * count for age, count in ages.items()) / max(1, new.count),
        }
        metrics = {**own, **new.metrics, **own}  # devices choose the names of theirs
        evaluation = self.settings.evaluation
        if self.evaluator is not None and self._is_evaluated(new.version):
            found = measured(self.evaluator, fed.in_framework(FLModel(params=dict(news.made.params))))
            metrics |= found
            self._offer(fed, new.version, found)
        elif evaluation is None or not (evaluation.is_at_server or evaluation.num_devices):
            for version, found in self._scores.add(new).items():
                self._offer(fed, version, found)
        fed.record(metrics)

    def _is_evaluated(self, version: int) -> bool:
        frequency = 1 if self.settings.evaluation is None else self.settings.evaluation.eval_frequency
        return version % frequency == 0 or version == self.settings.models.max_model_version

    def _judge(self, fed: TrainingFederation, news: News) -> None:
        """Record what devices have evaluated, with the round that made the version."""
        for version, metrics in sorted(news.evaluations.items()):
            for key, value in metrics.items():
                fed.events.emit(MetricLogged(f"evaluate/{key}", value, version - 1, None))
            self._offer(fed, version, metrics)

    def _offer(self, fed: TrainingFederation, version: int, metrics: Mapping[str, float]) -> None:
        """Save a version as the best one, if its metric is the best so far."""
        round_ = max(0, version - 1)
        if version in self._models and self._best.improves(metrics.get(self.key_metric), round_):
            params = dict(self._models[version])
            fed.save(FLModel(params=params), name="best", metric=self._best.value, of_round=round_)


class _Function(Evaluator):
    """A function at the server that measures a model."""

    def __init__(self, path: str) -> None:
        self._function = import_class(path)

    def evaluate(self, model: Mapping[str, Any]) -> Mapping[str, float]:
        found: Mapping[str, float] = self._function(model)
        return found

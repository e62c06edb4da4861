"""Framework-independent base of the FedAvg recipe."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flare_core.additions import check_sites
from flare_core.aggregation import Aggregator
from flare_core.callbacks import Callback
from flare_core.components import Component
from flare_core.errors import RecipeError
from flare_core.evaluator import Evaluator
from flare_core.recipe import check_component, check_count
from flare_core.recipes.script import ScriptRecipe


@dataclass(kw_only=True, eq=False, repr=False)
class BaseFedAvgRecipe(ScriptRecipe):
    """Train the global model at every site in each round, and average the results at the server.

    The default choice. A site's result is weighted by ``meta["NUM_STEPS_CURRENT_ROUND"]``, by default 1.

    Args:
        aggregator: an :class:`~flare_core.Aggregator` to use instead of the weighted mean, or
            ``{"class_path", "args"}``.
        aggregation_weights: factors on the sites' weights, by site name; 1 for a site that is not named.
        exclude_vars: parameters that are not aggregated, so that the server keeps its own values: a regular expression
            searched for in each key, or a list of keys.
        clients_per_round: number of sites that take part in a round, drawn at random for each; all connected sites by
            default.
        quorum: number of replies that end a round. The other sites continue training, and their replies count in a
            later round. By default, a round ends when all its sites have replied.
        staleness_exponent: a reply that is ``age`` rounds late counts ``(1 + age)^-exponent`` of its difference to the
            model that its site received; 0 counts all of it. Only with a ``quorum``.
        max_staleness: replies that are more rounds late are dropped. Only with a ``quorum``.
        key_metric: the metric that selects the best model; None selects none.
        key_metric_mode: ``max`` if higher is better, ``min`` if lower is.
        stop_cond: a condition that ends the run early, such as ``"accuracy >= 0.9"``.
        patience: ends the run after this many rounds without improvement of the metric in ``stop_cond``, else of
            ``key_metric``.
        evaluator: an :class:`~flare_core.Evaluator`, or ``{"class_path", "args"}``, that measures each new global
            model at the server. Its metrics replace those of the same name that sites report.
        callbacks: a list of more :class:`~flare_core.Callback`, or ``{"class_path", "args"}``, that follow the rounds.

    Example:
        recipe = FedAvgRecipe(
            min_clients=2,
            num_rounds=5,
            initial_model=model,
            train_script="client.py",
            key_metric="loss",
            key_metric_mode="min",
        )
    """

    name: str = "fedavg"
    aggregator: Aggregator | Mapping[str, Any] | None = None
    aggregation_weights: Mapping[str, float] | None = None
    exclude_vars: str | Iterable[str] | None = None
    clients_per_round: int | None = None
    quorum: int | None = None
    staleness_exponent: float = 0.5
    max_staleness: int = 10
    key_metric: str | None = "accuracy"
    key_metric_mode: str = "max"
    stop_cond: str | None = None
    patience: int | None = None
    evaluator: Evaluator | Mapping[str, Any] | None = None
    callbacks: Sequence[Callback | Mapping[str, Any]] = ()

    def _check(self) -> None:
        self.aggregation_weights = dict(self.aggregation_weights or {})
        check_sites(self.aggregation_weights, "aggregation_weights")
        if self.exclude_vars is not None and not isinstance(self.exclude_vars, str):
            self.exclude_vars = list(self.exclude_vars)
        if self.key_metric is not None and (not isinstance(self.key_metric, str) or not self.key_metric):
            raise RecipeError(f"key_metric is {self.key_metric!r}; give the name of a metric, or None")
        if self.patience is not None:
            self.patience = check_count(self.patience, "patience")
        super()._check()

    def _workflow(self) -> Component:
        return Component("flare_core.workflows.FedAvg", self._workflow_args())

    def _workflow_args(self) -> dict[str, Any]:
        clients = self.clients_per_round
        if clients is not None:
            clients = check_count(clients, "clients_per_round", minimum=self.min_clients)
        args: dict[str, Any] = {
            "min_clients": self.min_clients,
            "num_rounds": self.num_rounds,
            "aggregation_weights": self.aggregation_weights or None,
            "exclude_vars": self.exclude_vars,
            "clients_per_round": clients,
            "callbacks": list(self._callbacks()),
        }
        exponent, oldest = self.staleness_exponent, check_count(self.max_staleness, "max_staleness", minimum=0)
        if isinstance(exponent, bool) or not isinstance(exponent, int | float) or not 0 <= exponent < float("inf"):
            raise RecipeError(f"staleness_exponent is {exponent!r}; give a number of at least 0 (0: no discount)")
        if self.quorum is not None:
            quorum = check_count(self.quorum, "quorum")
            args |= {"quorum": quorum, "staleness_exponent": float(exponent), "max_staleness": oldest}
        if self.aggregator is not None:
            methods = "methods add, result, reset"
            args["aggregator"], aggregator = check_component(self.aggregator, "aggregator", Aggregator, methods)
            self._check_aggregator(aggregator)
        return args

    def _callbacks(self) -> Iterator[Component]:
        """Yield the callbacks that the arguments for metrics describe, and then those in ``callbacks``."""
        by = {"key_metric": self.key_metric, "key_metric_mode": self.key_metric_mode} if self.key_metric else {}
        if self.evaluator is not None:
            evaluator, _ = check_component(self.evaluator, "evaluator", Evaluator, "method evaluate")
            yield Component("flare_core.ServerEvaluation", {"evaluator": evaluator})
        if by:
            yield Component("flare_core.BestModel", by)
        if self.stop_cond is not None or (self.patience is not None and by):
            yield Component("flare_core.EarlyStopping", {"stop_cond": self.stop_cond, "patience": self.patience, **by})
        if not isinstance(self.callbacks, list | tuple):
            raise RecipeError(f"callbacks is {self.callbacks!r}; give a list of flare_core.Callback objects")
        for each in self.callbacks:
            yield check_component(each, "one of callbacks", Callback, "method round_ended, among others")[0]

    def _check_aggregator(self, aggregator: Aggregator) -> None:
        """Reject an aggregator that needs more sites or values than it would receive."""
        kind = type(aggregator).__name__
        for name in ("quorum", "clients_per_round"):
            if (count := getattr(self, name)) is not None and count < aggregator.least_sites:
                raise RecipeError(
                    f"{name} is {count}, but the aggregator, a {kind}, needs {aggregator.least_sites} sites in a round;"
                    f" raise {name}, or choose another aggregator"
                )
        if self._codecs.get("result", "").startswith("topk") and not aggregator.takes_sparse:
            raise RecipeError(
                f"compression of results is {self._codecs['result']!r}, but the aggregator, a {kind}, cannot compare"
                " omitted values; use another codec, or the weighted mean"
            )

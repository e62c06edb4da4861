"""The FedAvg recipe without a framework."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flare_core.aggregation import Aggregator
from flare_core.callbacks import Callback
from flare_core.components import Component
from flare_core.errors import JobError, RecipeError
from flare_core.evaluator import Evaluator
from flare_core.recipe import check_count, check_sites
from flare_core.recipes.script import ScriptRecipe

__all__ = ["BaseFedAvgRecipe"]


@dataclass(kw_only=True, eq=False, repr=False)
class BaseFedAvgRecipe(ScriptRecipe):
    """In each round, every site trains the global model on its own data, and the server averages the results.

    The default choice. A site's result is weighted by ``meta["NUM_STEPS_CURRENT_ROUND"]``, 1 if the script sends none.

    Args:
        aggregator: an :class:`~flare_core.Aggregator` to use instead of the weighted mean, or
            ``{"class_path", "args"}``.
        aggregation_weights: factors on the sites' weights, by site name; 1 for a site that is not named.
        exclude_vars: parameters that are not aggregated, so that the server's stay as they are: a regular expression
            searched for in each key, or a list of keys.
        clients_per_round: number of sites that take part in a round, drawn at random for each; all connected sites by
            default.
        quorum: number of replies that end a round. The other sites go on training, and their replies count in a later
            round. By default, a round ends when all its sites have replied.
        staleness_exponent: a reply that is ``age`` rounds late counts ``(1 + age)^-exponent`` of its difference to the
            model that its site was given; 0 counts all of it. Only with a ``quorum``.
        max_staleness: replies that are more rounds late are dropped. Only with a ``quorum``.
        key_metric: the metric by which the best model is chosen; None chooses none.
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
        clients, staleness = self.clients_per_round, check_exponent(self.staleness_exponent)
        oldest = check_count(self.max_staleness, "max_staleness", minimum=0)
        args: dict[str, Any] = {
            "min_clients": self.min_clients,
            "num_rounds": self.num_rounds,
            "aggregation_weights": self.aggregation_weights or None,
            "exclude_vars": self.exclude_vars,
            "clients_per_round": (
                None if clients is None else check_count(clients, "clients_per_round", minimum=self.min_clients)
            ),
            "callbacks": [*self._own_callbacks(), *checked_callbacks(self.callbacks)],
        }
        if self.quorum is not None:
            quorum = check_count(self.quorum, "quorum")
            args |= {"quorum": quorum, "staleness_exponent": staleness, "max_staleness": oldest}
        if self.aggregator is not None:
            args["aggregator"] = _checked_part(self.aggregator, "aggregator", Aggregator, "methods add, result, reset")
            self._check_suits(args["aggregator"].build())
        return args

    def _own_callbacks(self) -> Iterator[Component]:
        """Yield the callbacks that the arguments for metrics describe."""
        by = {"key_metric": self.key_metric, "key_metric_mode": self.key_metric_mode} if self.key_metric else {}
        if self.evaluator is not None:
            evaluator = _checked_part(self.evaluator, "evaluator", Evaluator, "method evaluate")
            yield Component("flare_core.ServerEvaluation", {"evaluator": evaluator})
        if by:
            yield Component("flare_core.BestModel", by)
        if self.stop_cond is not None or (self.patience is not None and by):
            yield Component("flare_core.EarlyStopping", {"stop_cond": self.stop_cond, "patience": self.patience, **by})

    def _check_suits(self, aggregator: Aggregator) -> None:
        """Refuse an aggregator to which sites send too little."""
        for name in ("quorum", "clients_per_round"):
            if (count := getattr(self, name)) is not None and count < aggregator.least_sites:
                raise RecipeError(
                    f"{name} is {count} and aggregator is a {type(aggregator).__name__} that needs"
                    f" {aggregator.least_sites} sites in a round; raise {name}, or choose another aggregator"
                )
        if self._codecs.get("result", "").startswith("topk") and not aggregator.takes_sparse:
            raise RecipeError(
                f"compression of results is {self._codecs['result']!r} and aggregator is a {type(aggregator).__name__},"
                " which would compare values that sites have left out with others; use another codec, or the weighted"
                " mean"
            )


def checked_callbacks(value: Any) -> list[Component]:
    """Return the argument ``callbacks`` of a recipe as components.

    Raises:
        RecipeError: it is no list, or an entry is no callback.
    """
    if not isinstance(value, list | tuple):
        raise RecipeError(
            f"callbacks is {value!r}; give a list of objects whose classes derive from flare_core.Callback"
        )
    return [_checked_part(each, "one of callbacks", Callback, "method round_ended, among others") for each in value]


def _checked_part(value: Any, name: str, cls: type, methods: str) -> Component:
    """Return an object, or the description of one, as a component.

    Raises:
        RecipeError: it cannot be made, or is of another class.
    """
    try:
        component = Component.of(value, what=name)
        built = component.build()
    except JobError as error:
        raise RecipeError(str(error)) from error
    if not isinstance(built, cls):
        raise RecipeError(
            f"{name} is a {type(built).__name__}; give an object whose class derives from flare_core.{cls.__name__}"
            f" ({methods})"
        )
    return component


def check_exponent(value: Any) -> float:
    """Return ``value`` as the exponent of the discount for old replies.

    Raises:
        RecipeError: it is no finite number from 0.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise RecipeError(f"staleness_exponent is {value!r}; give a number from 0, which counts old replies in full")
    return float(value)

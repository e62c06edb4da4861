"""Evaluation without training: of one model, or of every site's model, at every site."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from flare_core.errors import ModelError, RecipeError
from flare_core.model import FLModel, ParamsType
from flare_core.selection import MetricMean
from flare_core.task import Reply, Sample, TaskName
from flare_core.workflow import TrainingFederation, Workflow
from flare_core.workflows.received import received

SERVER_MODELS = ("global", "best")
RESULTS = "cross_site_evaluation.json"

Results: TypeAlias = dict[str, dict[str, dict[str, float]]]
"""Metrics by the site whose data were used, then by model."""


class FedEval(Workflow):
    """Evaluate the model at every site; record its metrics and their mean, weighted by the sites' steps.

    Args:
        min_clients: how many sites must reply.
    """

    def __init__(self, *, min_clients: int) -> None:
        self.min_clients = min_clients

    def run(self, fed: TrainingFederation) -> None:
        model = fed.load()
        for _ in fed.rounds(1):
            replies = fed.broadcast(TaskName.VALIDATE, model, to=fed.sample(self.min_clients))
            fed.record(_evaluated(fed, replies)[1])
            fed.save(model)


class CrossSiteEval(Workflow):
    """Evaluate the server's models and every site's own model at every site.

    A site submits its own model for the task ``submit_model``, and evaluates one for the task ``validate``. The result
    is shown as a table, and written to ``cross_site_evaluation.json`` in the server's folder of the run: metrics by the
    site whose data were used, then by model (``global``, ``best``, or the site that trained it).

    Args:
        min_clients: how many sites must take part.
        models: the models to evaluate: ``global``, ``best``, ``sites``.
        participating_clients: names of the sites that take part; all by default.

    Raises:
        RecipeError: ``models`` has an unknown name.
    """

    def __init__(
        self,
        *,
        min_clients: int,
        models: Sequence[str] = ("global", "best", "sites"),
        participating_clients: Sequence[str] | None = None,
    ) -> None:
        if isinstance(models, str) or not models or (unknown := set(models) - {*SERVER_MODELS, "sites"}):
            wrong = models if isinstance(models, str) or not models else sorted(unknown)[0]
            raise RecipeError(f"models is {wrong!r}; give a list of 'global', 'best' and 'sites'")
        self.min_clients = min_clients
        self.models = list(models)
        self.participating_clients = None if participating_clients is None else list(participating_clients)

    def run(self, fed: TrainingFederation) -> None:
        for _ in fed.rounds(1):
            sites = self._participants(fed)
            results: Results = {site: {} for site in sites}
            means: dict[str, float] = {}
            for name, model in self._candidates(fed, sites):
                by_site, of_all = _evaluated(fed, self._replies(fed, model, sites), prefix=f"{name}/")
                means |= of_all
                for site, metrics in by_site.items():
                    results[site][name] = metrics
            fed.record(means)
            fed.write(RESULTS, json.dumps(results, indent=2) + "\n")
            _show(fed, results)

    def _candidates(self, fed: TrainingFederation, sites: Sample) -> Iterator[tuple[str, FLModel]]:
        """Yield the models with their names, so that only one is in memory at a time."""
        for name in SERVER_MODELS:
            if name in self.models and (model := fed.load(name)).params:
                yield name, model
        submitted = 0
        for index, owner in enumerate(sites if "sites" in self.models else ()):
            model = FLModel()
            turn = Sample.in_turn(sites, index, done=submitted, minimum=self.min_clients)
            for reply in fed.broadcast(TaskName.SUBMIT_MODEL, model, to=turn):
                model = received(reply)
                if model.params_type is ParamsType.DIFF:
                    raise ModelError(f"{owner} replied to 'submit_model' with a difference; send the whole model")
            if model.params:
                submitted += 1
                yield owner, model
            else:
                fed.warn(f"{owner} left before it submitted its model, which is not evaluated")

    def _replies(self, fed: TrainingFederation, model: FLModel, sites: Sample) -> Iterator[Reply]:
        return fed.broadcast(TaskName.VALIDATE, model, to=sites)

    def _participants(self, fed: TrainingFederation) -> Sample:
        present = fed.sample(self.min_clients)
        if self.participating_clients is None:
            return present
        if unknown := [site for site in self.participating_clients if site not in fed.sites]:
            raise RecipeError(f"participating_clients names {unknown[0]!r}; the sites are {', '.join(fed.sites)}")
        chosen = [site for site in present if site in self.participating_clients]
        return Sample(chosen, min(self.min_clients, len(chosen)))


def _evaluated(
    fed: TrainingFederation, replies: Iterable[Reply], prefix: str = ""
) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """Take what sites say of a model; return the metrics by site, and their means."""
    metrics = MetricMean()
    by_site = {}
    trained = []
    for reply in replies:
        if reply.model.params is not None:
            trained.append(reply.site)
        by_site[reply.site] = metrics.add(reply)
        fed.record({prefix + key: value for key, value in by_site[reply.site].items()}, site=reply.site)
    for problem in [*metrics.problems, *metrics.not_numbers.values()]:
        fed.warn(problem)
    if trained:
        fed.warn(
            f"{', '.join(trained)} sent params for the task '{TaskName.VALIDATE}', which asks for metrics of the"
            " received model; if the script trained before it evaluated, check flare.is_evaluate() in it"
        )
    if silent := [site for site, values in by_site.items() if not values]:
        fed.warn(f"{', '.join(silent)} sent no metrics for the task 'validate'; send FLModel(metrics=...)")
    return by_site, {prefix + key: value for key, value in metrics.means().items()}


def _show(fed: TrainingFederation, results: Results) -> None:
    """Show a table for each metric."""
    models = list(dict.fromkeys(name for by_model in results.values() for name in by_model))
    keys = dict.fromkeys(key for by_model in results.values() for metrics in by_model.values() for key in metrics)
    for key in keys:
        rows = [
            [site, *(f"{by_model[name][key]:.4g}" if key in by_model.get(name, {}) else "-" for name in models)]
            for site, by_model in results.items()
        ]
        fed.show(f"{key} of each model on each site's data", ["data of", *models], rows)

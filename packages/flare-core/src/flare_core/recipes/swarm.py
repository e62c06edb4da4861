"""Framework-independent base of the swarm recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flare_core.additions import check_sites
from flare_core.components import Component
from flare_core.errors import RecipeError
from flare_core.job import ClientApp, CodeBundle, ExecutorEntry, Job
from flare_core.recipes.distribution import KEEPS_MODELS
from flare_core.recipes.fedavg import BaseFedAvgRecipe
from flare_core.recipes.site_settings import SiteSettings
from flare_core.task import TaskName

_TASKS = (TaskName.SWARM_AGGREGATE, TaskName.SWARM_HOLD, TaskName.SWARM_RECALL)


@dataclass(kw_only=True, eq=False, repr=False)
class BaseSwarmLearningRecipe(BaseFedAvgRecipe):
    """Federated averaging in which the sites take turns at aggregating, so that the server never has a trained model.

    The results are at the sites: ``global_model.safetensors`` and ``best_model.safetensors`` in their folders. Also
    takes the arguments of ``FedAvgRecipe`` except ``quorum``, ``evaluator`` and ``compression``; filters at the server
    are rejected, since it sees no model.

    Args:
        aggregator_sites: names of the sites that aggregate, in turn; all by default.

    Example:
        recipe = SwarmLearningRecipe(
            min_clients=2,
            num_rounds=5,
            initial_model=model,
            train_script="client.py",
            key_metric="loss",
            key_metric_mode="min",
        )
    """

    name: str = "swarm"
    aggregator_sites: Sequence[str] | None = None

    def _check(self) -> None:
        for name, reason in (
            ("quorum", "aggregator is a different site in each round"),
            ("evaluator", "server has no model to measure"),
            ("compression", "models are sent from site to site"),
        ):
            if getattr(self, name) is not None:
                raise RecipeError(f"{name} cannot be chosen for a swarm, whose {reason}")
        sites = self.aggregator_sites
        if sites is not None:
            if isinstance(sites, str) or not isinstance(sites, Sequence) or not sites:
                raise RecipeError(f"aggregator_sites is {sites!r}; give a list of site names, or omit it")
            check_sites(sites, "aggregator_sites")
            self.aggregator_sites = list(sites)
        super()._check()

    def _workflow(self) -> Component:
        args = {**self._workflow_args(), "aggregator_sites": self.aggregator_sites}
        return Component("flare_core.workflows.Swarm", args)

    def _client_app(self, settings: SiteSettings, shared: CodeBundle) -> ClientApp:
        app = super()._client_app(settings, shared)
        args = self._workflow_args()
        names = ("aggregator", "aggregation_weights", "exclude_vars")
        executor = Component("flare_runtime.site.swarm.SwarmExecutor", {name: args.get(name) for name in names})
        app.executors[:0] = [ExecutorEntry(_TASKS, executor), KEEPS_MODELS]
        return app

    def add_workflow(self, workflow: Component) -> None:
        name = workflow.class_path.rpartition(".")[2]
        if name == "CrossSiteEval":
            return super().add_workflow(Component("flare_core.workflows.SwarmEval", workflow.args))
        raise RecipeError(f"{name} needs the server's model, but a swarm's server has none; run it separately")

    def job(self) -> Job:
        job = super().job()
        if job.server.task_data_filters or job.server.task_result_filters:
            raise RecipeError(
                "a swarm cannot have filters at the server, which sees no model; add them at the sites"
                " (add_client_output_filter, add_client_input_filter)"
            )
        return job

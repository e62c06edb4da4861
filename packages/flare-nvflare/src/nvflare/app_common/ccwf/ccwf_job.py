"""CCWFJob: a job in which sites have control. A swarm is Flare's own; a cycle is run by the server.

The arguments about times have no effect, since Flare knows whether sites work.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import Any

from flare_core import RecipeError
from flare_core.recipes.script import ScriptRecipe
from nvflare._flare.evaluating import add_evaluation, sites_of_evaluation
from nvflare._flare.layout import array_outputs, of_a_swarm, torch_outputs
from nvflare._flare.names import check_import
from nvflare.app_common.ccwf.common import Constant, CyclicOrder
from nvflare.job_config.api import FedJob
from nvflare.job_config.script_runner import BaseScriptRunner


@dataclass
class SwarmServerConfig:
    """The server's settings of a swarm."""

    num_rounds: int
    start_round: int = 0
    start_task_timeout: float = Constant.START_TASK_TIMEOUT
    configure_task_timeout: float = Constant.CONFIG_TASK_TIMEOUT
    participating_clients: Any = None
    result_clients: Any = None
    starting_client: str = ""
    max_status_report_interval: float = Constant.PER_CLIENT_STATUS_REPORT_TIMEOUT
    progress_timeout: float = Constant.WORKFLOW_PROGRESS_TIMEOUT
    private_p2p: bool = True
    aggr_clients: Any = None
    train_clients: Any = None
    min_clients: int = 0


@dataclass
class SwarmClientConfig:
    """The sites' settings of a swarm."""

    executor: Any
    persistor: Any
    shareable_generator: Any
    aggregator: Any
    metric_comparator: Any = None
    model_selector: Any = None
    learn_task_check_interval: float = Constant.LEARN_TASK_CHECK_INTERVAL
    learn_task_abort_timeout: float = Constant.LEARN_TASK_ABORT_TIMEOUT
    learn_task_ack_timeout: float = Constant.LEARN_TASK_ACK_TIMEOUT
    learn_task_timeout: float | None = None
    final_result_ack_timeout: float = Constant.FINAL_RESULT_ACK_TIMEOUT
    min_responses_required: int = 1
    wait_time_after_min_resps_received: float = 10.0
    request_to_submit_result_msg_timeout: float = 5.0
    request_to_submit_result_max_wait: float | None = None
    request_to_submit_result_interval: float = 1.0
    max_concurrent_submissions: int = 1
    memory_gc_rounds: int = 1
    cuda_empty_cache: bool = False


@dataclass
class CyclicServerConfig:
    """The server's settings of a cycle."""

    num_rounds: int
    start_task_timeout: float = Constant.START_TASK_TIMEOUT
    configure_task_timeout: float = Constant.CONFIG_TASK_TIMEOUT
    participating_clients: Any = None
    result_clients: Any = None
    starting_client: str = ""
    max_status_report_interval: float = Constant.PER_CLIENT_STATUS_REPORT_TIMEOUT
    progress_timeout: float = Constant.WORKFLOW_PROGRESS_TIMEOUT
    private_p2p: bool = True
    cyclic_order: str = CyclicOrder.FIXED


@dataclass
class CyclicClientConfig:
    """The sites' settings of a cycle."""

    executor: Any
    persistor: Any
    shareable_generator: Any
    learn_task_abort_timeout: float = Constant.LEARN_TASK_ABORT_TIMEOUT
    learn_task_ack_timeout: float = Constant.LEARN_TASK_ACK_TIMEOUT
    final_result_ack_timeout: float = Constant.FINAL_RESULT_ACK_TIMEOUT


@dataclass
class CrossSiteEvalConfig:
    """The settings of an evaluation across sites."""

    start_task_timeout: float = Constant.START_TASK_TIMEOUT
    configure_task_timeout: float = Constant.CONFIG_TASK_TIMEOUT
    eval_task_timeout: float = 30
    progress_timeout: float = Constant.WORKFLOW_PROGRESS_TIMEOUT
    private_p2p: bool = True
    participating_clients: Any = None
    evaluators: Any = None
    evaluatees: Any = None
    global_model_client: Any = None
    max_status_report_interval: float = Constant.PER_CLIENT_STATUS_REPORT_TIMEOUT
    eval_result_dir: str = "cross_site_val"
    get_model_timeout: float = Constant.GET_MODEL_TIMEOUT
    notes: list[str] = field(default_factory=list, repr=False)


class CCWFJob(FedJob):
    """A job in which sites have control.

    Args:
        name, min_clients, mandatory_clients: as for :class:`FedJob`.
        executor_tasks: the tasks of the script; ``train`` if left out.
        external_resources: files for all parties.
    """

    def __init__(
        self,
        name: str = "fed_job",
        min_clients: int = 1,
        mandatory_clients: list[str] | None = None,
        executor_tasks: list[str] | None = None,
        external_resources: list[str] | None = None,
    ) -> None:
        super().__init__(name, min_clients, mandatory_clients)
        self.executor_tasks = executor_tasks or ["train"]
        for each in external_resources or ():
            self.to_clients(each)

    def add_swarm(
        self,
        server_config: SwarmServerConfig,
        client_config: SwarmClientConfig,
        cse_config: CrossSiteEvalConfig | None = None,
    ) -> None:
        """Make this the job of a swarm, with the recipe of the model's framework.

        Raises:
            RecipeError: the sites' executor is no script, or the persistor has no model.
        """
        script = client_config.executor
        if not isinstance(script, BaseScriptRunner):
            kind = type(script).__name__
            raise RecipeError(f"the executor of a swarm is a {kind}; give a ScriptRunner, whose script trains")
        model = getattr(client_config.persistor, "model", None)
        if model is None:
            kind = type(client_config.persistor).__name__
            raise RecipeError(f"the {kind} of the swarm has no model to begin with; give it one with model=…")
        package = (
            "flare_recipes_pt" if "pt" in type(client_config.persistor).__module__.split(".") else "flare_recipes_np"
        )
        check_import(package.replace("_", "-"), package, "CCWFJob.add_swarm")
        recipe = importlib.import_module(package).SwarmLearningRecipe
        made = recipe(
            name=self.name,
            min_clients=max(server_config.min_clients, self.min_clients, 1),
            num_rounds=server_config.num_rounds,
            initial_model=model,
            train_script=script.script,
            train_args=script.script_args,
            launch_external_process=script.launch_external_process,
            command=script.command,
            aggregator_sites=server_config.aggr_clients or None,
        )
        self.native = made
        self.outputs = of_a_swarm(torch_outputs() if package == "flare_recipes_pt" else array_outputs())
        if cse_config is not None:
            add_evaluation(made, sites_of_evaluation(vars(cse_config)))

    def add_cyclic(
        self,
        server_config: CyclicServerConfig,
        client_config: CyclicClientConfig,
        cse_config: CrossSiteEvalConfig | None = None,
    ) -> None:
        """Add a cycle: the server gives the model to one site after the other."""
        from nvflare.app_common.workflows.cyclic_ctl import CyclicController, RelayOrder

        order = RelayOrder.RANDOM if server_config.cyclic_order == CyclicOrder.RANDOM else RelayOrder.FIXED
        self.to_server(client_config.persistor, id="persistor")
        self.to_server(client_config.shareable_generator, id="shareable_generator")
        self.to_server(CyclicController(num_rounds=server_config.num_rounds, order=order))
        self.to_clients(client_config.executor, tasks=self.executor_tasks)

    def add_cross_site_eval(self, cse_config: CrossSiteEvalConfig, persistor_id: str = "persistor") -> None:
        """Add an evaluation of the sites' models at all sites.

        Raises:
            RecipeError: the sites that evaluate are not those whose models are evaluated.
        """
        if isinstance(self.native, ScriptRecipe):
            add_evaluation(self.native, sites_of_evaluation(vars(cse_config)))
            return
        from nvflare.app_common.widgets.validation_json_generator import ValidationJsonGenerator
        from nvflare.app_common.workflows.cross_site_model_eval import CrossSiteModelEval

        self.to_server(CrossSiteModelEval(cross_val_dir=cse_config.eval_result_dir))
        self.to_server(ValidationJsonGenerator(), id="json_generator")

"""FedAvgJob, federated averaging of a PyTorch model."""

from __future__ import annotations

from typing import Any

from nvflare._flare.describe import Described
from nvflare.app_opt.pt.job_config.base_fed_job import BaseFedJob


class FedAvgJob(BaseFedJob):
    """Federated averaging; give each site a script with ``job.to(ScriptRunner(…), site)``.

    Args:
        initial_model: the model, as for :class:`nvflare.app_opt.pt.job_config.model.PTModel`.
        n_clients: the number of sites of a round.
        num_rounds: the number of rounds.
        name, min_clients, mandatory_clients, key_metric, key_metric_mode: as for
            :class:`nvflare.job_config.base_fed_job.BaseFedJob`.
    """

    def __init__(
        self,
        initial_model: Any,
        n_clients: int,
        num_rounds: int,
        name: str = "fed_job",
        min_clients: int = 1,
        mandatory_clients: list[str] | None = None,
        key_metric: str = "accuracy",
        *,
        key_metric_mode: str = "max",
    ) -> None:
        super().__init__(
            initial_model, name, min_clients, mandatory_clients, key_metric, key_metric_mode=key_metric_mode
        )
        self.n_clients = n_clients
        self.num_rounds = num_rounds
        args = {"num_clients": n_clients, "num_rounds": num_rounds, "persistor_id": self.comp_ids["persistor_id"]}
        workflow = Described("nvflare.app_common.workflows.fedavg.FedAvg", args)
        self._parts("server").workflows[self._parts("server").new_id("controller")] = workflow

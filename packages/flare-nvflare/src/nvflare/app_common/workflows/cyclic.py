"""Cyclic: the model passes from site to site."""

from __future__ import annotations

from typing import Any

from nvflare.app_common.utils.fl_model_utils import FLModelUtils
from nvflare.app_common.workflows.base_fedavg import BaseFedAvg


class Cyclic(BaseFedAvg):
    """Gives the model to one site after the other; arguments as for :class:`BaseFedAvg`."""

    def __init__(
        self,
        *args: Any,
        num_clients: int = 2,
        num_rounds: int = 5,
        start_round: int = 0,
        memory_gc_rounds: int = 0,
        **kwargs: Any,
    ) -> None:
        kwargs |= {"num_clients": num_clients, "num_rounds": num_rounds, "start_round": start_round}
        super().__init__(*args, memory_gc_rounds=memory_gc_rounds, **kwargs)

    def run(self) -> None:
        """Run the rounds.

        Raises:
            ValueError: a site sent nothing.
        """
        model = self.load_model()
        model.start_round, model.total_rounds = self.start_round, self.num_rounds
        for round_ in range(self.start_round, self.start_round + self.num_rounds):
            self.current_round = model.current_round = round_
            for site in self.sample_clients(self.num_clients):
                results = self.send_model_and_wait(targets=[site], data=model)
                if not results:
                    raise ValueError(f"{site} sent no model in round {round_}")
                model = FLModelUtils.update_model(model, results[0])
                model.current_round, model.total_rounds = round_, self.num_rounds
            self.save_model(model)

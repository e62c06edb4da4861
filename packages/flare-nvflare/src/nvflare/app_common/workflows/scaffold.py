"""Scaffold: averages models and control variates.

Source: Karimireddy et al. 2020, SCAFFOLD: Stochastic controlled averaging for federated learning, arXiv:1910.06378.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from flare_core import FLModel, ModelError
from nvflare.apis.fl_constant import FLMetaKey
from nvflare.apis.fl_context import FLContext
from nvflare.app_common.aggregators.weighted_aggregation_helper import WeightedAggregationHelper
from nvflare.app_common.app_constant import AlgorithmConstants, AppConstants
from nvflare.app_common.workflows.base_fedavg import BaseFedAvg


class Scaffold(BaseFedAvg):
    """Averages models and control variates; arguments as for :class:`BaseFedAvg`."""

    _kept_controls: dict[str, Any] | None = None

    def initialize(self, fl_ctx: FLContext | None = None) -> None:
        """Load the model, and begin with control variates of zero."""
        super().initialize(fl_ctx)
        if fl_ctx is None:  # when the persistor is known
            self.model: FLModel = self.load_model()
            self.model.start_round, self.model.total_rounds = self.start_round, self.num_rounds
            self._controls: dict[str, Any] = self._kept_controls or {
                key: np.zeros_like(value) if isinstance(value, np.ndarray) else value * 0
                for key, value in (self.model.params or {}).items()
            }

    def get_persist_state(self, fl_ctx: FLContext) -> dict[str, Any]:
        """Return the next round, the model to begin it with, and the control variates."""
        state = super().get_persist_state(fl_ctx)
        return {**state, "controls": self._controls} if state else {}

    def restore(self, state_data: dict[str, Any], fl_ctx: FLContext) -> None:
        """Begin with the next round, and with that."""
        super().restore(state_data, fl_ctx)
        self._kept_controls = state_data["controls"]

    def run(self) -> None:
        """Run the rounds."""
        for round_ in range(self.start_round, self.start_round + self.num_rounds):
            self.current_round = self.model.current_round = round_
            clients = self.sample_clients(self.num_clients)
            self.model.meta[AlgorithmConstants.SCAFFOLD_CTRL_GLOBAL] = self._controls
            results = self.send_model_and_wait(targets=clients, data=self.model)
            found = self.aggregate(results, aggregate_fn=scaffold_aggregate_fn)
            self.model = self.update_model(self.model, found)
            for key, change in found.meta[AlgorithmConstants.SCAFFOLD_CTRL_DIFF].items():
                self._controls[key] = self._controls[key] + change
            self.save_model(self.model)


def scaffold_aggregate_fn(results: list[FLModel]) -> FLModel:
    """Return the means of the models and of the changes of the control variates.

    Raises:
        ModelError: a site did not send its control variates.
    """
    models, controls = WeightedAggregationHelper(), WeightedAggregationHelper()
    for each in results:
        site = each.meta.get("client_name", AppConstants.CLIENT_UNKNOWN)
        changes = each.meta.get(AlgorithmConstants.SCAFFOLD_CTRL_DIFF)
        if changes is None:
            raise ModelError(
                f"{site} sent no meta[{AlgorithmConstants.SCAFFOLD_CTRL_DIFF!r}], which SCAFFOLD needs; let its script"
                " use PTScaffoldHelper or TFScaffoldHelper, and send get_delta_controls() there"
            )
        weight = float(each.meta.get(FLMetaKey.NUM_STEPS_CURRENT_ROUND, 1.0))
        models.add(each.params or {}, weight, site, each.current_round)
        controls.add(changes, weight, site, each.current_round)
    return FLModel(
        params=models.get_result(),
        params_type=results[0].params_type,
        meta={
            AlgorithmConstants.SCAFFOLD_CTRL_DIFF: controls.get_result(),
            "nr_aggregated": len(results),
            "current_round": results[0].current_round,
        },
    )

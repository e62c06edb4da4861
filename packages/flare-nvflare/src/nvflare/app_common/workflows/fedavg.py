"""FedAvg: averages the sites' models as they arrive."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flare_core import FLModel
from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_constant import FLMetaKey
from nvflare.apis.fl_context import FLContext
from nvflare.app_common.abstract.model import make_model_learnable
from nvflare.app_common.aggregators.weighted_aggregation_helper import (
    WeightedAggregationHelper,
    filter_aggregatable_metrics,
)
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.app_event_type import AppEventType
from nvflare.app_common.utils.fedprox_utils import FEDPROX_MU, validate_fedprox_mu
from nvflare.app_common.utils.math_utils import parse_compare_criteria
from nvflare.app_common.workflows.base_fedavg import BaseFedAvg


class FedAvg(BaseFedAvg):
    """Averages the sites' models as they arrive. Flare's own is flare_core.workflows.FedAvg.

    Args:
        args, kwargs: of :class:`BaseFedAvg`.
        model: the model to begin with, as a dict of arrays or a model; otherwise the persistor's.
        save_filename: the file for the model in the run's folder, if there is no persistor.
        aggregator: an object with ``accept_model``, ``aggregate_model`` and ``reset_stats``.
        stop_cond: a condition such as ``accuracy >= 0.9``; only models that are better than before are stored.
        patience: the number of rounds without improvement after which the run ends.
        task_name: the task.
        exclude_vars: a regular expression of names that are not averaged.
        aggregation_weights: a factor for each site.
        enable_tensor_disk_offload: ignored.
        fedprox_mu: the weight of the proximal term, for scripts that have one; 0 for none.
        task_to_optimize: the old name of ``task_name``.
    """

    def __init__(
        self,
        *args: Any,
        model: Any = None,
        save_filename: str | None = "FL_global_model.pt",
        aggregator: Any = None,
        stop_cond: str | None = None,
        patience: int | None = None,
        task_name: str | None = AppConstants.TASK_TRAIN,
        exclude_vars: str | None = None,
        aggregation_weights: Mapping[str, float] | None = None,
        enable_tensor_disk_offload: bool = False,
        fedprox_mu: float | None = None,
        task_to_optimize: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if task_to_optimize is not None:
            text = "task_to_optimize is deprecated; write task_name"
            warnings.warn(text, DeprecationWarning, stacklevel=2)
            task_name = task_to_optimize
        self.model = model
        self.save_filename = save_filename
        self.aggregator = aggregator
        self.stop_cond = stop_cond
        self.patience = patience
        self.task_name = task_name
        self.exclude_vars = exclude_vars
        self.aggregation_weights = dict(aggregation_weights or {})
        self.enable_tensor_disk_offload = enable_tensor_disk_offload
        self.fedprox_mu = validate_fedprox_mu(fedprox_mu) if fedprox_mu else None
        self.stop_condition = parse_compare_criteria(stop_cond) if stop_cond else None
        self.num_fl_rounds_without_improvement = 0
        self.best_target_metric_value: Any = None
        self._helpers = (WeightedAggregationHelper(exclude_vars), WeightedAggregationHelper())
        self._params_type: Any = None
        self._received, self._with_metrics = 0, 0

    def run(self) -> None:
        """Run the rounds."""
        self.fl_ctx.set_prop(AppConstants.NUM_ROUNDS, self.num_rounds, private=True, sticky=False)
        model = self._first_model()
        model.start_round, model.total_rounds = self.start_round, self.num_rounds
        for round_ in range(self.start_round, self.start_round + self.num_rounds):
            self.current_round = round_
            model.current_round = self.current_round
            if self.fedprox_mu is not None:
                model.meta[FEDPROX_MU] = self.fedprox_mu
            clients = self.sample_clients(self.num_clients)
            self._reset()
            self.send_model(str(self.task_name), model, clients, callback=self._aggregate_one_result)
            while self.get_num_standing_tasks():
                if self.abort_signal.triggered:
                    return
            self.event(AppEventType.BEFORE_AGGREGATION)
            model = self.update_model(model, self._get_aggregated_result())
            self.note_model(model)
            if self.stop_condition is None:
                self.save_model(model)
                continue
            if self.is_curr_model_better(model):
                self.save_model(model)
            if self.should_stop(model.metrics):
                break

    def load_model(self) -> FLModel:
        """Return the model to begin with: the persistor's, else the stored one, else one without params."""
        path = self._file()
        if self._restored is None and self.persistor is None and path is not None and path.is_file():
            return self.load_model_file(str(path))
        return super().load_model()

    def save_model(self, model: FLModel) -> None:
        """Store a model, with the persistor or in a file of the run's folder."""
        path = self._file()
        if self.persistor is not None or path is None:
            super().save_model(model)
            return
        self.event(AppEventType.BEFORE_LEARNABLE_PERSIST)
        self.save_model_file(model, str(path))
        learnable = make_model_learnable(model.params, model.meta)
        self.fl_ctx.set_prop(AppConstants.GLOBAL_MODEL, learnable, private=True, sticky=True)
        self.event(AppEventType.AFTER_LEARNABLE_PERSIST)

    def save_model_file(self, model: FLModel, filepath: str) -> None:
        """Write a model to a file; a subclass can override this."""
        from nvflare.fuel.utils import fobs

        fobs.dumpf(model, filepath)

    def load_model_file(self, filepath: str) -> FLModel:
        """Read a model from a file; a subclass can override this."""
        from nvflare.fuel.utils import fobs

        model: FLModel = fobs.loadf(filepath)
        return model

    def is_curr_model_better(self, curr_model: FLModel) -> bool:
        """Return True if a model is better than all before, by the metric of the stop condition.

        Raises:
            ValueError: sites have not reported the metric.
        """
        if self.stop_condition is None:
            return True
        name, _, compare = self.stop_condition
        value = (curr_model.metrics or {}).get(name)
        if value is None:
            raise ValueError(f"the sites did not all report {name!r}, which stop_cond {self.stop_cond!r} needs")
        best = self.best_target_metric_value
        if best is None or (value != best and compare(value, best)):
            self.best_target_metric_value, self.num_fl_rounds_without_improvement = value, 0
            return True
        self.num_fl_rounds_without_improvement += 1
        return False

    def should_stop(self, metrics: Mapping[str, Any] | None = None, stop_condition: Any = None) -> bool:
        """Return True if the metrics fulfil the stop condition, or have not improved for too long."""
        if self.patience and self.patience <= self.num_fl_rounds_without_improvement:
            return True
        condition = stop_condition or self.stop_condition
        if condition is None or not metrics:
            return False
        name, target, compare = condition
        return name in metrics and bool(compare(metrics[name], target))

    def get_persist_state(self, fl_ctx: FLContext) -> dict[str, Any]:
        """Return the next round, the model to begin it with, and what the stop condition needs."""
        if state := super().get_persist_state(fl_ctx):
            state |= {"best": self.best_target_metric_value, "not_better": self.num_fl_rounds_without_improvement}
            if isinstance(self.aggregator, FLComponent):
                state["aggregator"] = self.aggregator.get_persist_state(fl_ctx)
        return state

    def restore(self, state_data: dict[str, Any], fl_ctx: FLContext) -> None:
        """Begin with the next round and that model."""
        super().restore(state_data, fl_ctx)
        self.best_target_metric_value = state_data["best"]
        self.num_fl_rounds_without_improvement = state_data["not_better"]
        if "aggregator" in state_data:
            self.aggregator.restore(state_data["aggregator"], fl_ctx)

    def _first_model(self) -> FLModel:
        if self.model is None or self._restored is not None:
            return self.load_model()
        return self.model if isinstance(self.model, FLModel) else FLModel(params=self.model)

    def _reset(self) -> None:
        self._received, self._with_metrics, self._params_type = 0, 0, None
        if self.aggregator is not None:
            self.aggregator.fl_ctx = self.fl_ctx
            self.aggregator.reset_stats()
        for helper in self._helpers:
            helper.reset_stats()

    def _aggregate_one_result(self, result: FLModel) -> None:
        if not result.params:
            self.warning(f"{result.meta.get('client_name')} sent a model without params, which is not used")
            return
        site = result.meta.get("client_name", AppConstants.CLIENT_UNKNOWN)
        self._received += 1
        self._params_type = self._params_type or result.params_type
        steps = result.meta.get(FLMetaKey.NUM_STEPS_CURRENT_ROUND)
        weight = self.aggregation_weights.get(site, 1.0) * (1.0 if steps is None else float(steps))
        if self.aggregator is not None:
            self.aggregator.accept_model(result)
        else:
            self._helpers[0].add(result.params, weight, site, self.current_round)
        if result.metrics:
            self._with_metrics += 1
            self._helpers[1].add(filter_aggregatable_metrics(result.metrics), weight, site, self.current_round)

    def _get_aggregated_result(self) -> FLModel:
        if not self._received:
            raise ValueError(f"no site sent a model in round {self.current_round}")
        if self.aggregator is not None:
            found: FLModel = self.aggregator.aggregate_model()
        else:
            found = FLModel(params_type=self._params_type, params=self._helpers[0].get_result())
        if self._with_metrics == self._received and not found.metrics:
            found.metrics = self._helpers[1].get_result()
        found.meta = {**found.meta, "nr_aggregated": self._received, AppConstants.CURRENT_ROUND: self.current_round}
        return found

    def _file(self) -> Path | None:
        return Path(self.get_run_dir()) / self.save_filename if self.save_filename else None

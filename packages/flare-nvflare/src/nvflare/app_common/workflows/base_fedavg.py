"""BaseFedAvg: what algorithms share that average models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flare_core import FLModel
from nvflare.apis.fl_constant import FLMetaKey
from nvflare.app_common.aggregators.weighted_aggregation_helper import (
    WeightedAggregationHelper,
    filter_aggregatable_metrics,
)
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.app_event_type import AppEventType
from nvflare.app_common.utils.fl_model_utils import FLModelUtils
from nvflare.app_common.workflows.model_controller import ModelController


class BaseFedAvg(ModelController):
    """Averages models.

    Args:
        args, kwargs: of :class:`ModelController`.
        num_clients: how many sites take part in a round.
        num_rounds: how many rounds there are.
        start_round: the number of the first.
        memory_gc_rounds: ignored.
    """

    def __init__(
        self,
        *args: Any,
        num_clients: int = 3,
        num_rounds: int = 5,
        start_round: int = 0,
        memory_gc_rounds: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.num_clients = num_clients
        self.num_rounds = num_rounds
        self.start_round = start_round
        self.memory_gc_rounds = memory_gc_rounds
        self.current_round: Any = None

    def run(self) -> None:
        """Run the algorithm; a subclass implements it.

        Raises:
            NotImplementedError: it does not.
        """
        raise NotImplementedError(f"{type(self).__name__} needs a method run()")

    @staticmethod
    def aggregate_fn(results: list[FLModel]) -> FLModel:
        """Return the mean of models, weighted by their steps.

        Raises:
            ValueError: there are none.
        """
        if not results:
            raise ValueError("there are no results to aggregate")
        helper, metrics_helper = WeightedAggregationHelper(), WeightedAggregationHelper()
        all_metrics = all(each.metrics for each in results)
        for each in results:
            steps = each.meta.get(FLMetaKey.NUM_STEPS_CURRENT_ROUND)
            weight = 1.0 if steps is None else float(steps)
            site = each.meta.get("client_name", AppConstants.CLIENT_UNKNOWN)
            helper.add(each.params or {}, weight, site, each.current_round)
            if all_metrics:
                metrics_helper.add(filter_aggregatable_metrics(each.metrics), weight, site, each.current_round)
        return FLModel(
            params=helper.get_result(),
            params_type=results[0].params_type,
            metrics=metrics_helper.get_result() if all_metrics else None,
            meta={"nr_aggregated": len(results), "current_round": results[0].current_round},
        )

    def aggregate(
        self, results: list[FLModel], aggregate_fn: Callable[[list[FLModel]], FLModel] | None = None
    ) -> FLModel:
        """Return what results amount to.

        Args:
            results: the sites' models.
            aggregate_fn: computes it; the weighted mean if left out.
        Raises:
            TypeError: it is not a model.
        """
        self.event(AppEventType.BEFORE_AGGREGATION)
        found: Any = (aggregate_fn or self.aggregate_fn)(results)
        if not isinstance(found, FLModel):
            raise TypeError(f"the aggregation returned a {type(found).__name__}, not an FLModel")
        round_ = results[0].current_round if results else None
        found.meta = {**found.meta, "nr_aggregated": len(results), AppConstants.CURRENT_ROUND: round_}
        self.fl_ctx.set_prop(AppConstants.AGGREGATION_RESULT, found, private=True, sticky=False)
        self.event(AppEventType.AFTER_AGGREGATION)
        return found

    def update_model(self, model: FLModel, aggr_result: FLModel) -> FLModel:
        """Apply an aggregated result to the model, and return that."""
        self.event(AppEventType.BEFORE_SHAREABLE_TO_LEARNABLE)
        model = FLModelUtils.update_model(model, aggr_result)
        self.set_fl_context(model)
        self.event(AppEventType.AFTER_SHAREABLE_TO_LEARNABLE)
        return model

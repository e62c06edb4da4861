"""IntimeModelSelector: finds the best global model by what sites report of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from nvflare.apis.dxo import DataKind, MetaKey, from_shareable
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import ReservedHeaderKey, Shareable
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.app_event_type import AppEventType
from nvflare.widgets.widget import Widget


class IntimeModelSelector(Widget):
    """Fires an event when the sites' mean of a metric of the global model is better than ever before.

    Args:
        weigh_by_local_iter: weigh the sites by their steps.
        aggregation_weights: a factor for each site.
        validation_metric_name: where the metrics are in the meta data of a result.
        key_metric: which of them counts.
        negate_key_metric: lower is better.
    """

    def __init__(
        self,
        weigh_by_local_iter: bool = False,
        aggregation_weights: Mapping[str, float] | None = None,
        validation_metric_name: str = MetaKey.INITIAL_METRICS,
        key_metric: str = "val_accuracy",
        negate_key_metric: bool = False,
    ) -> None:
        super().__init__()
        self.weigh_by_local_iter = weigh_by_local_iter
        self.aggregation_weights = dict(aggregation_weights or {})
        self.validation_metric_name = validation_metric_name
        self.key_metric = key_metric
        self.negate_key_metric = negate_key_metric
        self.val_metric = self.best_val_metric = -math.inf
        self._reset_stats()

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Follow the rounds."""
        if event_type in (EventType.START_RUN, AppEventType.ROUND_STARTED):
            self._reset_stats()
        elif event_type == AppEventType.BEFORE_CONTRIBUTION_ACCEPT:
            self._before_accept(fl_ctx)
        elif event_type == AppEventType.BEFORE_AGGREGATION:
            self._before_aggregate(fl_ctx)

    def get_persist_state(self, fl_ctx: FLContext) -> dict[str, Any]:
        """Return the best value so far."""
        return {"best": self.best_val_metric}

    def restore(self, state_data: dict[str, Any], fl_ctx: FLContext) -> None:
        """Go on with the best value so far."""
        self.best_val_metric = state_data["best"]

    def _reset_stats(self) -> None:
        self._sum = self._weights = 0.0

    def _before_accept(self, fl_ctx: FLContext) -> None:
        peer = fl_ctx.get_peer_context()
        shareable = None if peer is None else peer.get_prop(FLContextKey.SHAREABLE)
        if not isinstance(shareable, Shareable) or shareable.get_header(ReservedHeaderKey.CONTENT_TYPE) != "DXO":
            return
        dxo = from_shareable(shareable)
        current = fl_ctx.get_prop(AppConstants.CURRENT_ROUND)
        if dxo.data_kind not in (DataKind.WEIGHTS, DataKind.WEIGHT_DIFF, DataKind.COLLECTION) or current == 0:
            return  # in the first round, the model is only the initial one
        site = peer.get_identity_name("?")
        if shareable.get_cookie(AppConstants.CONTRIBUTION_ROUND) != current:
            self.log_warning(fl_ctx, f"the metrics of {site} are of another round")
            return
        value: Any = dxo.get_meta_prop(self.validation_metric_name)
        if isinstance(value, dict):
            value = value.get(self.key_metric)
        if value is None:
            self.log_warning(fl_ctx, f"{site} did not report {self.key_metric!r}")
            return
        steps = dxo.get_meta_prop(MetaKey.NUM_STEPS_CURRENT_ROUND, 1.0) if self.weigh_by_local_iter else 1.0
        weight = steps * self.aggregation_weights.get(site, 1.0)
        self._sum += (-value if self.negate_key_metric else value) * weight
        self._weights += weight

    def _before_aggregate(self, fl_ctx: FLContext) -> None:
        if self._weights == 0:
            return
        self.val_metric = self._sum / self._weights
        self._reset_stats()
        if self.val_metric > self.best_val_metric:
            self.best_val_metric = self.val_metric
            fl_ctx.set_prop(AppConstants.VALIDATION_RESULT, self.best_val_metric, private=True, sticky=False)
            self.fire_event(AppEventType.GLOBAL_BEST_MODEL_AVAILABLE, fl_ctx)


class IntimeModelSelectionHandler(IntimeModelSelector):
    """The old name of :class:`IntimeModelSelector`."""

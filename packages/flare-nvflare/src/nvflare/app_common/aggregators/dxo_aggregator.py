"""DXOAggregator, a weighted mean of DXOs of one kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nvflare.apis.dxo import DXO, DataKind, MetaKey
from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_context import FLContext
from nvflare.app_common.aggregators.weighted_aggregation_helper import WeightedAggregationHelper
from nvflare.app_common.app_constant import AppConstants


class DXOAggregator(FLComponent):
    """A weighted mean of DXOs of one kind.

    Args:
        exclude_vars: a regular expression of the names to leave out.
        aggregation_weights: a factor for each site.
        expected_data_kind: the kind.
        name_postfix: what to add to its name in logs.
        weigh_by_local_iter: multiply each contribution by its weight; otherwise it is multiplied already.
    """

    def __init__(
        self,
        exclude_vars: str | None = None,
        aggregation_weights: Mapping[str, float] | None = None,
        expected_data_kind: str = DataKind.WEIGHT_DIFF,
        name_postfix: str = "",
        weigh_by_local_iter: bool = True,
    ) -> None:
        super().__init__()
        self.expected_data_kind = expected_data_kind
        self.aggregation_weights = dict(aggregation_weights or {})
        self.aggregation_helper = WeightedAggregationHelper(exclude_vars, weigh_by_local_iter)
        self.processed_algorithm: Any = None
        self._name += name_postfix

    def reset_aggregation_helper(self) -> None:
        """Forget what was accepted."""
        self.aggregation_helper.reset_stats()

    def accept(self, dxo: DXO, contributor_name: str, contribution_round: Any, fl_ctx: FLContext) -> bool:
        """Take a site's contribution; return False, with the reason in the log, if it is not used."""
        problem = self._problem(dxo, contributor_name, contribution_round, fl_ctx)
        if problem:
            self.log_error(fl_ctx, f"the contribution of {contributor_name} is not used: {problem}")
            return False
        steps = dxo.get_meta_prop(MetaKey.NUM_STEPS_CURRENT_ROUND)
        weight = self.aggregation_weights.get(contributor_name, 1.0) * (1.0 if steps is None else float(steps))
        self.aggregation_helper.add(dxo.data, weight, contributor_name, contribution_round)
        return True

    def aggregate(self, fl_ctx: FLContext) -> DXO:
        """Return the mean."""
        meta = {} if self.processed_algorithm is None else {MetaKey.PROCESSED_ALGORITHM: self.processed_algorithm}
        self.processed_algorithm = None
        return DXO(self.expected_data_kind, self.aggregation_helper.get_result(), meta)

    def _problem(self, dxo: DXO, name: str, round_: Any, fl_ctx: FLContext) -> str:
        if not isinstance(dxo, DXO):
            return f"it is a {type(dxo).__name__}, not a DXO"
        if dxo.data_kind != self.expected_data_kind:
            return f"it is {dxo.data_kind}, but {self.expected_data_kind} is expected"
        current = fl_ctx.get_prop(AppConstants.CURRENT_ROUND)
        if round_ != current:
            return f"it is of round {round_}, and the current one is {current}"
        if any(each["contributor_name"] == name for each in self.aggregation_helper.get_history()):
            return "it is the second one of this round"
        algorithm = dxo.get_meta_prop(MetaKey.PROCESSED_ALGORITHM)
        if algorithm is not None and self.processed_algorithm not in (None, algorithm):
            return f"it was processed with {algorithm}, others with {self.processed_algorithm}"
        self.processed_algorithm = algorithm if algorithm is not None else self.processed_algorithm
        return ""

"""InTimeAccumulateWeightedAggregator, a weighted mean of what sites send as it arrives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nvflare.apis.dxo import DXO, DataKind, from_shareable
from nvflare.apis.fl_constant import ReservedKey, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.app_common.abstract.aggregator import Aggregator
from nvflare.app_common.aggregators.dxo_aggregator import DXOAggregator
from nvflare.app_common.app_constant import AppConstants

_KINDS = (DataKind.WEIGHT_DIFF, DataKind.WEIGHTS, DataKind.METRICS)
_ONE = "_single_"


class InTimeAccumulateWeightedAggregator(Aggregator):
    """A weighted mean of DXOs, or of each DXO of a collection.

    Args:
        exclude_vars: a regular expression of the names to leave out, or one for each DXO of a collection.
        aggregation_weights: a factor for each site, or such a dict for each DXO of a collection.
        expected_data_kind: the kind of the DXOs, or that of each DXO of a collection.
        weigh_by_local_iter: multiply each contribution by its number of steps; otherwise it is multiplied already.

    Raises:
        ValueError: a kind cannot be averaged, or a dict has no value for a DXO of the collection.
    """

    def __init__(
        self,
        exclude_vars: str | Mapping[str, str] | None = None,
        aggregation_weights: Mapping[str, Any] | None = None,
        expected_data_kind: str | Mapping[str, str] = DataKind.WEIGHT_DIFF,
        weigh_by_local_iter: bool = True,
    ) -> None:
        super().__init__()
        self.exclude_vars = exclude_vars
        self.aggregation_weights = aggregation_weights
        self.expected_data_kind = expected_data_kind
        self.weigh_by_local_iter = weigh_by_local_iter
        kinds = expected_data_kind if isinstance(expected_data_kind, Mapping) else {_ONE: expected_data_kind}
        self._parts: dict[str, DXOAggregator] = {}
        for name, kind in kinds.items():
            if kind not in _KINDS:
                raise ValueError(f"expected_data_kind is {kind!r}; use one of {', '.join(map(str, _KINDS))}")
            excluded = self._for_part(exclude_vars, name, "exclude_vars", kinds)
            weights = aggregation_weights
            if weights and any(isinstance(each, Mapping) for each in weights.values()):
                weights = self._for_part(weights, name, "aggregation_weights", kinds)
            postfix = "" if name == _ONE else name
            self._parts[name] = DXOAggregator(excluded, weights, DataKind(kind), postfix, weigh_by_local_iter)

    @staticmethod
    def _for_part(value: Any, name: str, what: str, kinds: Mapping[str, str]) -> Any:
        if not isinstance(value, Mapping):
            return value
        if missing := [each for each in kinds if each not in value]:
            raise ValueError(f"{what} is a dict without {missing[0]!r}, which expected_data_kind has")
        return value[name]

    def accept(self, shareable: Shareable, fl_ctx: FLContext) -> bool:
        """Take a site's result; return False, with the reason in the log, if it is not used."""
        site = shareable.get_peer_prop(ReservedKey.IDENTITY_NAME, "?")
        code = shareable.get_return_code()
        if code and code != ReturnCode.OK:
            self.log_warning(fl_ctx, f"{site} answered with {code}, which is not used")
            return False
        try:
            dxo = from_shareable(shareable)
        except ValueError as error:
            self.log_error(fl_ctx, f"the result of {site} is not used: {error}")
            return False
        round_ = shareable.get_cookie(AppConstants.CONTRIBUTION_ROUND)
        accepted = 0
        for name, part in self._parts.items():
            one = dxo if name == _ONE else dxo.data.get(name)
            if not isinstance(one, DXO):
                self.log_warning(fl_ctx, f"the result of {site} has no {name!r}")
            elif not part.accept(one, site, round_, fl_ctx):
                return False
            else:
                accepted += 1
        return accepted > 0

    def aggregate(self, fl_ctx: FLContext) -> Shareable:
        """Return the mean."""
        means = {name: part.aggregate(fl_ctx) for name, part in self._parts.items()}
        return (means[_ONE] if _ONE in means else DXO(DataKind.COLLECTION, means)).to_shareable()

    def reset(self, fl_ctx: FLContext) -> None:
        """Forget what was accepted."""
        for part in self._parts.values():
            part.reset_aggregation_helper()

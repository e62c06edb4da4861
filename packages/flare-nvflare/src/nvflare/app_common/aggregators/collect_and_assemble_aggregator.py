"""CollectAndAssembleAggregator: collects the contributions of sites, and has an assembler combine them."""

from __future__ import annotations

from nvflare.apis.dxo import from_shareable
from nvflare.apis.fl_constant import ReservedKey, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.app_common.abstract.aggregator import Aggregator
from nvflare.app_common.aggregators.assembler import Assembler
from nvflare.app_common.app_constant import AppConstants


class CollectAndAssembleAggregator(Aggregator):
    """Collects contributions, and has an assembler combine them.

    Args:
        assembler_id: the assembler.
    """

    def __init__(self, assembler_id: str) -> None:
        super().__init__()
        self.assembler_id = assembler_id
        self._assembler: Assembler | None = None

    def accept(self, shareable: Shareable, fl_ctx: FLContext) -> bool:
        """Take the result of a site; return False, with the reason in the log, if it is not used."""
        assembler = self._found(fl_ctx)
        site = shareable.get_peer_prop(ReservedKey.IDENTITY_NAME, "?")
        code = shareable.get_return_code()
        if code and code != ReturnCode.OK:
            self.log_warning(fl_ctx, f"{site} answered with {code}, which is not used")
            return False
        dxo = from_shareable(shareable)
        if dxo.data_kind != assembler.get_expected_data_kind():
            expected = assembler.get_expected_data_kind()
            self.log_error(fl_ctx, f"the result of {site} is {dxo.data_kind}, but {expected} is expected")
            return False
        round_, current = (
            shareable.get_cookie(AppConstants.CONTRIBUTION_ROUND),
            fl_ctx.get_prop(AppConstants.CURRENT_ROUND),
        )
        if round_ is not None and round_ != current:
            self.log_warning(fl_ctx, f"the result of {site} is of round {round_}, and the current one is {current}")
            return False
        assembler.collection[site] = assembler.get_model_params(dxo)
        return True

    def aggregate(self, fl_ctx: FLContext) -> Shareable:
        """Return what the results amount to."""
        assembler = self._found(fl_ctx)
        found = assembler.assemble(assembler.collection, fl_ctx)
        assembler.reset()
        return found.to_shareable()

    def _found(self, fl_ctx: FLContext) -> Assembler:
        if self._assembler is None:
            found = fl_ctx.get_engine().get_component(self.assembler_id)
            if not isinstance(found, Assembler):
                raise TypeError(f"the component {self.assembler_id!r} is a {type(found).__name__}, no Assembler")
            found.initialize(fl_ctx)
            self._assembler = found
        return self._assembler

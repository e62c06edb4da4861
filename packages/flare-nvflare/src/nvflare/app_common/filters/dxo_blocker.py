"""DXOBlocker: refuses DXOs of some kinds."""

from __future__ import annotations

from nvflare.apis.dxo import DXO
from nvflare.apis.dxo_filter import DXOFilter
from nvflare.apis.filter import ContentBlockedException
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable


class DXOBlocker(DXOFilter):
    """Refuses DXOs of some kinds, or of all others.

    Args:
        data_kinds: the kinds.
        allow_data_kinds: refuse all others.
    """

    def __init__(self, data_kinds: list[str], allow_data_kinds: bool = False) -> None:
        super().__init__(supported_data_kinds=None, data_kinds_to_filter=None)
        self.configured_data_kinds = data_kinds
        self.allow_data_kinds = allow_data_kinds

    def process_dxo(self, dxo: DXO, shareable: Shareable, fl_ctx: FLContext) -> DXO | None:
        """Return None, which leaves the DXO as it is.

        Raises:
            ContentBlockedException: it is of a kind that is refused.
        """
        if (dxo.data_kind in self.configured_data_kinds) != self.allow_data_kinds:
            raise ContentBlockedException(f"{dxo.data_kind} may not pass here")
        return None

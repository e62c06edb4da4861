"""ExcludeVars: leaves values out of models."""

from __future__ import annotations

import re
from typing import Any

from nvflare.apis.dxo import DXO, DataKind
from nvflare.apis.dxo_filter import DXOFilter
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable


class ExcludeVars(DXOFilter):
    """Leaves values out of models.

    Args:
        exclude_vars: a list of names, or a regular expression that is searched for in each.
        data_kinds: the kinds of DXOs to change.
    """

    def __init__(self, exclude_vars: Any = None, data_kinds: list[str] | None = None) -> None:
        kinds = [DataKind.WEIGHTS, DataKind.WEIGHT_DIFF]
        super().__init__(supported_data_kinds=kinds, data_kinds_to_filter=data_kinds or kinds)
        self.exclude_vars = exclude_vars

    def process_dxo(self, dxo: DXO, shareable: Shareable, fl_ctx: FLContext) -> DXO | None:
        """Return the DXO without the values."""
        excluded = self.exclude_vars
        if not excluded:
            return None
        if isinstance(excluded, str):
            pattern = re.compile(excluded)
            dxo.data = {key: value for key, value in dxo.data.items() if not pattern.search(str(key))}
        else:
            dxo.data = {key: value for key, value in dxo.data.items() if key not in excluded}
        return dxo

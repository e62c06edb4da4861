"""DXOFilter, which changes the DXOs of the kinds that it is for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from nvflare.apis.dxo import DXO, DataKind, from_shareable
from nvflare.apis.filter import Filter
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import ReservedHeaderKey, Shareable


class DXOFilter(Filter):
    """Changes DXOs.

    Args:
        supported_data_kinds: the kinds that it can change; None for all.
        data_kinds_to_filter: those of them that it shall change; None for all of them.

    Raises:
        ValueError: they are not lists, or a kind is not supported.
    """

    def __init__(self, supported_data_kinds: Sequence[str] | None, data_kinds_to_filter: Sequence[str] | None) -> None:
        super().__init__()
        for name, kinds in (
            ("supported_data_kinds", supported_data_kinds),
            ("data_kinds_to_filter", data_kinds_to_filter),
        ):
            if kinds and not isinstance(kinds, list):
                raise ValueError(f"{name} is a {type(kinds).__name__}; give a list of kinds")
        wrong = [each for each in data_kinds_to_filter or () if each not in (supported_data_kinds or [each])]
        if wrong:
            raise ValueError(f"{type(self).__name__} cannot filter {wrong[0]}; it can {supported_data_kinds}")
        self.data_kinds = data_kinds_to_filter or supported_data_kinds

    def process(self, shareable: Shareable, fl_ctx: FLContext) -> Shareable:  # type: ignore[override]  # its names of the arguments
        """Return the shareable with the changed DXO; one that holds none, or tells of a failure, is unchanged."""
        failed = shareable.get_header(ReservedHeaderKey.RC, ReturnCode.OK) != ReturnCode.OK
        if failed or shareable.get_header(ReservedHeaderKey.CONTENT_TYPE) != "DXO":
            return shareable
        return self._changed(from_shareable(shareable), shareable, fl_ctx).update_shareable(shareable)

    @abstractmethod
    def process_dxo(self, dxo: DXO, shareable: Shareable, fl_ctx: FLContext) -> DXO | None:
        """Return the changed DXO; None if it need not change."""

    def _changed(self, dxo: DXO, shareable: Shareable, fl_ctx: FLContext) -> DXO:
        if dxo.data_kind == DataKind.COLLECTION:
            dxo.data = {name: self._changed(each, shareable, fl_ctx) for name, each in dxo.data.items()}
            return dxo
        if not dxo.data or (self.data_kinds and dxo.data_kind not in self.data_kinds):
            return dxo
        found: Any = self.process_dxo(dxo, shareable, fl_ctx)
        if not found:
            return dxo
        if not isinstance(found, DXO):
            raise TypeError(f"{type(self).__name__}.process_dxo() returned a {type(found).__name__}, not a DXO")
        if found is not dxo and (history := dxo.get_filter_history()):
            found.add_filter_history(history)
        found.add_filter_history(type(self).__name__)
        return found

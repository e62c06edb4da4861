"""Assembler, which combines the collected contributions of sites."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from nvflare.apis.dxo import DXO
from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_context import FLContext


class Assembler(FLComponent, ABC):
    """Combines collected contributions.

    Args:
        data_kind: the kind of the contributions.
    """

    def __init__(self, data_kind: str) -> None:
        super().__init__()
        self.expected_data_kind = data_kind
        self.collection: dict[str, dict[str, Any]] = {}

    def initialize(self, fl_ctx: FLContext) -> None:
        """Prepare for the run."""

    def get_expected_data_kind(self) -> str:
        """Return the kind of the contributions."""
        return self.expected_data_kind

    @abstractmethod
    def get_model_params(self, dxo: DXO) -> dict[str, Any]:
        """Return what is kept of a contribution."""

    @abstractmethod
    def assemble(self, data: dict[str, dict[str, Any]], fl_ctx: FLContext) -> DXO:
        """Return what the kept contributions, by site, amount to."""

    def reset(self) -> None:
        """Forget the contributions."""
        self.collection = {}

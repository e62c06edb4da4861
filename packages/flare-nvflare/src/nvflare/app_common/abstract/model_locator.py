"""ModelLocator, which finds stored models."""

from __future__ import annotations

from abc import ABC, abstractmethod

from nvflare.apis.dxo import DXO
from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_context import FLContext


class ModelLocator(FLComponent, ABC):
    """Finds stored models."""

    @abstractmethod
    def get_model_names(self, fl_ctx: FLContext) -> list[str]:
        """Return the names of the models."""

    @abstractmethod
    def locate_model(self, model_name: str, fl_ctx: FLContext) -> DXO | None:
        """Return a model; None if there is none of that name."""

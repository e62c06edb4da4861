"""LearnablePersistor, which stores what is learned."""

from __future__ import annotations

from abc import ABC, abstractmethod

from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_context import FLContext
from nvflare.app_common.abstract.learnable import Learnable


class LearnablePersistor(FLComponent, ABC):
    """Stores what is learned."""

    @abstractmethod
    def load(self, fl_ctx: FLContext) -> Learnable:
        """Return what was stored, or what to begin with."""

    @abstractmethod
    def save(self, learnable: Learnable, fl_ctx: FLContext) -> None:
        """Store what is learned."""

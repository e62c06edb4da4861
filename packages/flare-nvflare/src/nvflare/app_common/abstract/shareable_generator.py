"""ShareableGenerator, which turns what is learned into what is exchanged, and back."""

from __future__ import annotations

from abc import ABC, abstractmethod

from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.app_common.abstract.learnable import Learnable


class ShareableGenerator(FLComponent, ABC):
    """Turns what is learned into what is exchanged, and back."""

    @abstractmethod
    def learnable_to_shareable(self, model: Learnable, fl_ctx: FLContext) -> Shareable:
        """Return what to send to the sites."""

    @abstractmethod
    def shareable_to_learnable(self, shareable: Shareable, fl_ctx: FLContext) -> Learnable:
        """Return what is learned after the result of a round."""

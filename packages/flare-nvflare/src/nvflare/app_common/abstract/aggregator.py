"""Aggregator, which combines the results of sites."""

from __future__ import annotations

from abc import ABC, abstractmethod

from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable


class Aggregator(FLComponent, ABC):
    """Combines the results of sites."""

    def reset(self, fl_ctx: FLContext) -> None:
        """Forget what was accepted."""

    @abstractmethod
    def accept(self, shareable: Shareable, fl_ctx: FLContext) -> bool:
        """Take the result of a site; return False if it is not used."""

    @abstractmethod
    def aggregate(self, fl_ctx: FLContext) -> Shareable:
        """Return what the results amount to."""

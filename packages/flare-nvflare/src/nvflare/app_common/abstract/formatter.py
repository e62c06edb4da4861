"""Formatter, which describes results as text."""

from __future__ import annotations

from abc import ABC, abstractmethod

from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_context import FLContext


class Formatter(FLComponent, ABC):
    """Describes results as text."""

    @abstractmethod
    def format(self, fl_ctx: FLContext) -> str:
        """Return the text."""

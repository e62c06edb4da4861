"""PersistorFilter, which changes what is stored."""

from __future__ import annotations

from typing import Any

from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_context import FLContext


class PersistorFilter(FLComponent):
    """Changes what a persistor loads and saves; the default changes nothing."""

    def process_post_load(self, learnable: Any, fl_ctx: FLContext) -> Any:
        """Return what to use of what was loaded."""
        return learnable

    def process_pre_save(self, learnable: Any, fl_ctx: FLContext) -> Any:
        """Return what to store."""
        return learnable

    def process_post_save(self, learnable: Any, fl_ctx: FLContext) -> Any:
        """Return what to use after it was stored."""
        return learnable

    def process_post_get(self, learnable: Any, fl_ctx: FLContext) -> Any:
        """Return what to use of a model that was asked for."""
        return learnable

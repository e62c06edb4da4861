"""PassthroughShareableGenerator: what is exchanged is what is learned."""

from __future__ import annotations

from typing import Any

from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.app_common.abstract.learnable import Learnable
from nvflare.app_common.abstract.shareable_generator import ShareableGenerator


class PassthroughShareableGenerator(ShareableGenerator):
    """Changes nothing."""

    def learnable_to_shareable(self, model: Any, fl_ctx: FLContext) -> Shareable:
        """Return the learnable as what to send."""
        return Shareable(model)

    def shareable_to_learnable(self, shareable: Shareable, fl_ctx: FLContext) -> Learnable:
        """Return the result as what is learned."""
        return Learnable(shareable)

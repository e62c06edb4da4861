"""Learner: what a site does in a federation, without the names of tasks."""

from __future__ import annotations

from typing import Any

from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal


class Learner(FLComponent):
    """Trains and evaluates at a site; for :class:`LearnerExecutor`."""

    def initialize(self, parts: dict[str, Any], fl_ctx: FLContext) -> None:
        """Prepare for the run."""

    def train(self, data: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        """Train, and return the model."""
        return make_reply(ReturnCode.TASK_UNSUPPORTED)

    def get_model_for_validation(self, model_name: str, fl_ctx: FLContext) -> Shareable:
        """Return the site's own model."""
        return make_reply(ReturnCode.TASK_UNSUPPORTED)

    def validate(self, data: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        """Evaluate a model, and return the metrics."""
        return make_reply(ReturnCode.TASK_UNSUPPORTED)

    def abort(self, fl_ctx: FLContext) -> None:
        """Stop the work."""

    def finalize(self, fl_ctx: FLContext) -> None:
        """Finish."""

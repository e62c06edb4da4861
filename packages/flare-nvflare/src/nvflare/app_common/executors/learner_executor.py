"""LearnerExecutor: has a Learner do the tasks."""

from __future__ import annotations

import warnings
from typing import Any

from nvflare.apis.event_type import EventType
from nvflare.apis.executor import Executor
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal
from nvflare.app_common.abstract.learner_spec import Learner
from nvflare.app_common.app_constant import AppConstants, ValidateType


class LearnerExecutor(Executor):
    """Has a Learner do the tasks.

    Args:
        learner_id: the component.
        train_task, submit_model_task, validate_task: the tasks.
    """

    def __init__(
        self,
        learner_id: str,
        train_task: str = AppConstants.TASK_TRAIN,
        submit_model_task: str = AppConstants.TASK_SUBMIT_MODEL,
        validate_task: str = AppConstants.TASK_VALIDATION,
    ) -> None:
        super().__init__()
        warnings.warn("Learner is deprecated; train in a script with the Client API", DeprecationWarning, stacklevel=2)
        self.learner_id = learner_id
        self.train_task = train_task
        self.submit_model_task = submit_model_task
        self.validate_task = validate_task
        self.learner: Any = None

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Prepare and finish the learner.

        Raises:
            TypeError: the component is no learner.
        """
        if event_type == EventType.START_RUN:
            self.learner = fl_ctx.get_engine().get_component(self.learner_id)
            if not isinstance(self.learner, Learner):
                raise TypeError(f"the component {self.learner_id!r} is a {type(self.learner).__name__}, no Learner")
            self.learner.initialize(fl_ctx.get_engine().get_all_components(), fl_ctx)
        elif event_type == EventType.ABORT_TASK and self.learner is not None:
            self.learner.abort(fl_ctx)
        elif event_type == EventType.END_RUN and self.learner is not None:
            self.learner.finalize(fl_ctx)

    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        """Let the learner do a task."""
        found: Shareable
        if task_name == self.train_task:
            shareable.set_header(AppConstants.VALIDATE_TYPE, ValidateType.BEFORE_TRAIN_VALIDATE)
            found = self.learner.train(shareable, fl_ctx, abort_signal)
        elif task_name == self.submit_model_task:
            name = shareable.get_header(AppConstants.SUBMIT_MODEL_NAME)
            found = self.learner.get_model_for_validation(name, fl_ctx)
        elif task_name == self.validate_task:
            shareable.set_header(AppConstants.VALIDATE_TYPE, ValidateType.MODEL_VALIDATE)
            found = self.learner.validate(shareable, fl_ctx, abort_signal)
        else:
            found = make_reply(ReturnCode.TASK_UNKNOWN)
        return found

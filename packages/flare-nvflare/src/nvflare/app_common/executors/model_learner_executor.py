"""ModelLearnerExecutor: has a ModelLearner do the tasks."""

from __future__ import annotations

import warnings
from typing import Any

from flare_core import FLModel
from nvflare.apis.event_type import EventType
from nvflare.apis.executor import Executor
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal
from nvflare.app_common.abstract.model_learner import ModelLearner
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.utils.fl_model_utils import FLModelUtils


class ModelLearnerExecutor(Executor):
    """Has a ModelLearner do the tasks.

    Args:
        learner_id: the component.
        train_task, submit_model_task, validate_task, configure_task: the tasks.
    """

    def __init__(
        self,
        learner_id: str,
        train_task: str = AppConstants.TASK_TRAIN,
        submit_model_task: str = AppConstants.TASK_SUBMIT_MODEL,
        validate_task: str = AppConstants.TASK_VALIDATION,
        configure_task: str = AppConstants.TASK_CONFIGURE,
    ) -> None:
        super().__init__()
        text = "ModelLearner is deprecated; train in a script with the Client API"
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        self.learner_id = learner_id
        self.train_task = train_task
        self.submit_model_task = submit_model_task
        self.validate_task = validate_task
        self.configure_task = configure_task
        self.learner: Any = None

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Prepare and finish the learner.

        Raises:
            TypeError: the component is no learner.
        """
        if event_type == EventType.START_RUN:
            self.learner = fl_ctx.get_engine().get_component(self.learner_id)
            if not isinstance(self.learner, ModelLearner):
                raise TypeError(
                    f"the component {self.learner_id!r} is a {type(self.learner).__name__}, no ModelLearner"
                )
            self._set(fl_ctx)
            self.learner.initialize()
        elif event_type == EventType.ABORT_TASK and self.learner is not None:
            self.learner.abort()
        elif event_type == EventType.END_RUN and self.learner is not None:
            self.learner.finalize()

    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        """Let the learner do a task."""
        learner = self.learner
        self._set(fl_ctx)
        learner.abort_signal = abort_signal
        if task_name == self.submit_model_task:
            return self._reply(learner.get_model(shareable.get_header(AppConstants.SUBMIT_MODEL_NAME)), task_name)
        model = FLModelUtils.from_shareable(shareable)
        learner.current_round, learner.total_rounds = model.current_round, model.total_rounds
        if task_name == self.train_task:
            return self._reply(learner.train(model), task_name)
        if task_name == self.validate_task:
            return self._reply(learner.validate(model), task_name)
        if task_name == self.configure_task:
            learner.configure(model)
            return make_reply(ReturnCode.OK)
        return make_reply(ReturnCode.TASK_UNKNOWN)

    def _set(self, fl_ctx: FLContext) -> None:
        self.learner.fl_ctx, self.learner.engine = fl_ctx, fl_ctx.get_engine()
        self.learner.site_name, self.learner.job_id = fl_ctx.get_identity_name(), fl_ctx.get_job_id()

    def _reply(self, found: Any, task_name: str) -> Shareable:
        if isinstance(found, str):
            return make_reply(found)
        if not isinstance(found, FLModel):
            kind = type(self.learner).__name__
            raise TypeError(f"{kind} returned a {type(found).__name__} for '{task_name}', neither a model nor a code")
        return FLModelUtils.to_shareable(found)

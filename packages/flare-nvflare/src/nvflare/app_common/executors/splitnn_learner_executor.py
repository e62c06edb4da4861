"""SplitNNLearnerExecutor: has a learner do a site's part of split learning."""

from __future__ import annotations

from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal
from nvflare.app_common.executors.learner_executor import LearnerExecutor
from nvflare.app_common.workflows.splitnn_workflow import SplitNNConstants


class SplitNNLearnerExecutor(LearnerExecutor):
    """Has a learner, whose methods are ``init_model`` and ``train``, do a site's part of split learning.

    Args:
        learner_id: the component.
        init_model_task_name, train_task_name: the tasks.
    """

    def __init__(
        self,
        learner_id: str,
        init_model_task_name: str = SplitNNConstants.TASK_INIT_MODEL,
        train_task_name: str = SplitNNConstants.TASK_TRAIN,
    ) -> None:
        super().__init__(learner_id)
        self.init_model_task_name = init_model_task_name
        self.train_task_name = train_task_name

    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        """Let the learner do a task."""
        found: Shareable
        if task_name == self.init_model_task_name:
            found = self.learner.init_model(shareable=shareable, fl_ctx=fl_ctx, abort_signal=abort_signal)
        elif task_name == self.train_task_name:
            found = self.learner.train(shareable, fl_ctx, abort_signal)
        else:
            found = make_reply(ReturnCode.TASK_UNKNOWN)
        return found

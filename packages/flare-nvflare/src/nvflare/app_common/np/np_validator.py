"""NPValidator: reports a metric of a NumPy model, for examples and tests."""

from __future__ import annotations

import numpy as np

from nvflare.apis.dxo import DXO, DataKind, from_shareable
from nvflare.apis.executor import Executor
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.np.constants import NPConstants


class NPValidator(Executor):
    """Reports an accuracy that depends on the mean of the model.

    Args:
        epsilon: the range of the random part of it.
        sleep_time: ignored.
        validate_task_name: the task.
    """

    def __init__(
        self, epsilon: float = 1, sleep_time: float = 0, validate_task_name: str = AppConstants.TASK_VALIDATION
    ) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.sleep_time = sleep_time
        self.validate_task_name = validate_task_name

    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        """Evaluate a model."""
        if task_name != self.validate_task_name:
            return make_reply(ReturnCode.TASK_UNKNOWN)
        model = from_shareable(shareable).data
        total = float(np.sum(model[NPConstants.NUMPY_KEY] / np.max(model[NPConstants.NUMPY_KEY])))
        noise = self.epsilon * float(np.random.default_rng(0).random())
        return DXO(DataKind.METRICS, {"accuracy": total + noise}).to_shareable()

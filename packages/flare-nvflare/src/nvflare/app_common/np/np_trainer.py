"""NPTrainer: adds a number to each value of a NumPy model, for examples and tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from nvflare.apis.dxo import DXO, DataKind, MetaKey, from_shareable
from nvflare.apis.executor import Executor
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.np.constants import NPConstants
from nvflare.app_common.np.utils import read_stored

_REMEDY = "it has not trained in this run; put a workflow that trains before CrossSiteModelEval"


class NPTrainer(Executor):
    """Adds a number to each value of the model.

    Args:
        delta: the number.
        sleep_time: ignored.
        train_task_name, submit_model_task_name: the tasks.
        model_name, model_dir: where the site's own model is stored.

    Raises:
        TypeError: ``delta`` is no number.
    """

    def __init__(
        self,
        delta: float = 1,
        sleep_time: float = 0,
        train_task_name: str = AppConstants.TASK_TRAIN,
        submit_model_task_name: str = AppConstants.TASK_SUBMIT_MODEL,
        model_name: str = "best_numpy.npy",
        model_dir: str = "model",
    ) -> None:
        super().__init__()
        if not isinstance(delta, int | float):
            raise TypeError(f"delta is {delta!r}; give a number")
        self.delta = delta
        self.sleep_time = sleep_time
        self.train_task_name = train_task_name
        self.submit_model_task_name = submit_model_task_name
        self.model_name = model_name
        self.model_dir = model_dir

    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        """Train, or return the site's own model.

        Raises:
            ValueError: the task holds no such weights.
            ModelError: the site has not trained yet, so it has no model of its own.
        """
        if task_name == self.submit_model_task_name:
            own = read_stored(self._path(fl_ctx), fl_ctx.get_identity_name(), _REMEDY)
            return DXO(DataKind.WEIGHTS, {NPConstants.NUMPY_KEY: own}).to_shareable()
        if task_name != self.train_task_name:
            return make_reply(ReturnCode.TASK_UNKNOWN)
        dxo = from_shareable(shareable)
        if dxo.data_kind != DataKind.WEIGHTS or NPConstants.NUMPY_KEY not in dxo.data:
            raise ValueError(
                f"the task holds {dxo.data_kind} with {sorted(dxo.data)}; NPTrainer needs WEIGHTS with"
                f" {NPConstants.NUMPY_KEY!r}"
            )
        weights: Any = dxo.data[NPConstants.NUMPY_KEY] + self.delta
        path = self._path(fl_ctx)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, weights)
        data = {**dxo.data, NPConstants.NUMPY_KEY: weights}
        return DXO(DataKind.WEIGHTS, data, {MetaKey.NUM_STEPS_CURRENT_ROUND: 1}).to_shareable()

    def _path(self, fl_ctx: FLContext) -> Path:
        workspace = fl_ctx.get_engine().get_workspace()
        return Path(workspace.get_run_dir(fl_ctx.get_job_id())) / self.model_dir / self.model_name

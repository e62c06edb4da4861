"""ModelController, the base class of algorithms that send and receive models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flare_core import FLModel
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.workflows.base_model_controller import BaseModelController


class ModelController(BaseModelController):
    """An algorithm: a subclass implements ``run``. Flare's own base class for that is flare_core.Workflow."""

    def __init__(self, *args: Any, persistor_id: str = AppConstants.DEFAULT_PERSISTOR_ID, **kwargs: Any) -> None:
        kwargs["persistor_id"] = persistor_id
        super().__init__(*args, **kwargs)

    def send_model_and_wait(
        self,
        task_name: str = AppConstants.TASK_TRAIN,
        data: FLModel | None = None,
        targets: Any = None,
        min_responses: int | None = None,
        timeout: int = 0,
    ) -> list[FLModel]:
        """Give a task with a model to sites, and return their answers; arguments as for :meth:`broadcast_model`."""
        found = self.broadcast_model(
            data if data is not None else FLModel(params={}),
            task_name,
            targets,
            min_responses,
            timeout,
            blocking=True,
        )
        return found or []

    def send_model(
        self,
        task_name: str = AppConstants.TASK_TRAIN,
        data: FLModel | None = None,
        targets: Any = None,
        min_responses: int | None = None,
        timeout: int = 0,
        callback: Callable[[FLModel], None] | None = None,
    ) -> None:
        """Give a task with a model to sites, and call ``callback`` with each answer as it comes."""
        self.broadcast_model(
            data if data is not None else FLModel(params={}),
            task_name,
            targets,
            min_responses,
            timeout,
            blocking=False,
            callback=callback,
        )

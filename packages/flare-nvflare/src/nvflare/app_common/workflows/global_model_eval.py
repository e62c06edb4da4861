"""GlobalModelEval: every site evaluates the server's models."""

from __future__ import annotations

from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.workflows.cross_site_model_eval import CrossSiteModelEval


class GlobalModelEval(CrossSiteModelEval):
    """Has each site evaluate the server's models; arguments as for :class:`CrossSiteModelEval`."""

    def __init__(
        self,
        task_check_period: float = 0.5,
        cross_val_dir: str = AppConstants.CROSS_VAL_DIR,
        validation_timeout: int = 6000,
        model_locator_id: str = "",
        formatter_id: str = "",
        validation_task_name: str = AppConstants.TASK_VALIDATION,
        cleanup_models: bool = False,
        participating_clients: list[str] | None = None,
        wait_for_clients_timeout: int = 300,
    ) -> None:
        super().__init__(
            task_check_period=task_check_period,
            cross_val_dir=cross_val_dir,
            validation_timeout=validation_timeout,
            model_locator_id=model_locator_id,
            formatter_id=formatter_id,
            submit_model_task_name="",
            validation_task_name=validation_task_name,
            cleanup_models=cleanup_models,
            participating_clients=participating_clients,
            wait_for_clients_timeout=wait_for_clients_timeout,
        )

"""CrossSiteEval: every site evaluates the server's models and those of all sites, as an algorithm on models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flare_core import FLModel
from nvflare.apis.fl_constant import FLMetaKey
from nvflare.app_common.abstract.model_persistor import ModelPersistor
from nvflare.app_common.app_constant import AppConstants, DefaultCheckpointFileName, ModelName
from nvflare.app_common.app_event_type import AppEventType
from nvflare.app_common.utils.fl_model_utils import FLModelUtils
from nvflare.app_common.workflows.model_controller import ModelController


class CrossSiteEval(ModelController):
    """Asks the sites for their models, and has each site evaluate these and the server's.

    Args:
        args, kwargs: of :class:`ModelController`.
        cross_val_dir: the folder of the results, in the run's.
        submit_model_timeout, validation_timeout: seconds that a task may take; 0 for no limit.
        server_models: names of models of the persistor.
        participating_clients: the sites; None for all.
    """

    def __init__(
        self,
        *args: Any,
        cross_val_dir: str = AppConstants.CROSS_VAL_DIR,
        submit_model_timeout: int = 600,
        validation_timeout: int = 6000,
        server_models: Sequence[str] = (DefaultCheckpointFileName.GLOBAL_MODEL,),
        participating_clients: list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.cross_val_dir = cross_val_dir
        self.submit_model_timeout = submit_model_timeout
        self.validation_timeout = validation_timeout
        self.server_models = list(server_models)
        self.participating_clients = participating_clients

    def run(self) -> None:
        """Collect the models, and have them evaluated one after the other."""
        sites = self.participating_clients or self.sample_clients()
        self.event(AppEventType.CROSS_VAL_INIT)
        models: dict[str, FLModel] = {}
        for each in self.send_model_and_wait(
            AppConstants.TASK_SUBMIT_MODEL,
            FLModel(params={}, meta={FLMetaKey.SUBMIT_MODEL_NAME: ModelName.BEST_MODEL}),
            sites,
            timeout=self.submit_model_timeout,
        ):
            models[each.meta["client_name"]] = each
        if isinstance(self.persistor, ModelPersistor):
            for name in self.server_models:
                stored = self.persistor.get(name, self.fl_ctx)
                if stored is not None:
                    models[f"SRV_{name}"] = FLModelUtils.from_model_learnable(stored)
        for owner, model in models.items():
            data = FLModel(params=model.params, params_type=model.params_type)
            for result in self.send_model_and_wait(
                AppConstants.TASK_VALIDATION, data, sites, timeout=self.validation_timeout
            ):
                self._note(owner, result)

    def _note(self, owner: str, result: FLModel) -> None:
        found = FLModelUtils.to_shareable(FLModel(metrics=result.metrics or {}))
        self.fl_ctx.set_prop(AppConstants.MODEL_OWNER, owner, private=True, sticky=False)
        self.fl_ctx.set_prop(AppConstants.DATA_CLIENT, result.meta["client_name"], private=True, sticky=False)
        self.fl_ctx.set_prop(AppConstants.VALIDATION_RESULT, found, private=True, sticky=False)
        self.event(AppEventType.VALIDATION_RESULT_RECEIVED)

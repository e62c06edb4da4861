"""CrossSiteModelEval: every site evaluates the server's models and those of all sites."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flare_core import FLModel
from nvflare.apis.controller_spec import ClientTask, Task
from nvflare.apis.dxo import DXO, from_shareable, get_leaf_dxos
from nvflare.apis.fl_constant import FLMetaKey, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl.controller import Controller
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal
from nvflare.app_common.abstract.formatter import Formatter
from nvflare.app_common.abstract.model_locator import ModelLocator
from nvflare.app_common.app_constant import AppConstants, ModelName
from nvflare.app_common.app_event_type import AppEventType
from nvflare.app_common.utils.fl_model_utils import FLModelUtils


class CrossSiteModelEval(Controller):
    """Asks the sites for their models, and has each site evaluate these and the server's.

    Args:
        task_check_period: ignored.
        cross_val_dir: the folder of the results, in the run's.
        submit_model_timeout, validation_timeout: seconds that a task may take; 0 for no limit.
        model_locator_id: the component that finds the server's models; empty for none.
        formatter_id: the component that describes the results; empty for none.
        submit_model_task_name: the task for the sites' models; empty for none.
        validation_task_name: the task that evaluates a model.
        cleanup_models: delete the models at the end.
        participating_clients: the sites; None for all.
        wait_for_clients_timeout: ignored: the run waits for its sites.
    """

    def __init__(
        self,
        task_check_period: float = 0.5,
        cross_val_dir: str = AppConstants.CROSS_VAL_DIR,
        submit_model_timeout: int = 600,
        validation_timeout: int = 6000,
        model_locator_id: str = "",
        formatter_id: str = "",
        submit_model_task_name: str = AppConstants.TASK_SUBMIT_MODEL,
        validation_task_name: str = AppConstants.TASK_VALIDATION,
        cleanup_models: bool = False,
        participating_clients: list[str] | None = None,
        wait_for_clients_timeout: int = 300,
    ) -> None:
        super().__init__(task_check_period=task_check_period)
        self.cross_val_dir = cross_val_dir
        self.submit_model_timeout = submit_model_timeout
        self.validation_timeout = validation_timeout
        self.model_locator_id = model_locator_id
        self.formatter_id = formatter_id
        self.submit_model_task_name = submit_model_task_name
        self.validation_task_name = validation_task_name
        self.cleanup_models = cleanup_models
        self.participating_clients = participating_clients
        self.wait_for_clients_timeout = wait_for_clients_timeout
        self._models: dict[str, DXO] = {}
        self._sites: list[str] = []

    def start_controller(self, fl_ctx: FLContext) -> None:
        """Find the components, and make the folders."""
        self._sites = self.participating_clients or [each.name for each in self._engine.get_clients()]
        folder = Path(self._engine.get_workspace().get_run_dir(fl_ctx.get_job_id())) / self.cross_val_dir
        self._model_dir = folder / AppConstants.CROSS_VAL_MODEL_DIR_NAME
        self._result_dir = folder / AppConstants.CROSS_VAL_RESULTS_DIR_NAME
        for each in (self._model_dir, self._result_dir):
            each.mkdir(parents=True, exist_ok=True)
        fl_ctx.set_prop(AppConstants.CROSS_VAL_MODEL_PATH, str(self._model_dir))
        fl_ctx.set_prop(AppConstants.CROSS_VAL_RESULTS_PATH, str(self._result_dir))
        self._locator: Any = self._component(self.model_locator_id, ModelLocator)
        self._formatter: Any = self._component(self.formatter_id, Formatter)
        self.fire_event(AppEventType.CROSS_VAL_INIT, fl_ctx)

    def control_flow(self, abort_signal: Signal, fl_ctx: FLContext) -> None:
        """Collect the models, and have them evaluated one after the other.

        Raises:
            TypeError: the locator returned something else.
        """
        if self.submit_model_task_name:
            asked = FLModel(params={}, meta={FLMetaKey.SUBMIT_MODEL_NAME: ModelName.BEST_MODEL})
            data = FLModelUtils.to_shareable(asked)
            data.set_header(AppConstants.SUBMIT_MODEL_NAME, ModelName.BEST_MODEL)
            task = Task(
                self.submit_model_task_name,
                data,
                timeout=self.submit_model_timeout,
                result_received_cb=self._receive_local_model,
            )
            self.broadcast_and_wait(task, fl_ctx, self._sites, len(self._sites), abort_signal=abort_signal)
        if self._locator is not None:
            for name in self._locator.get_model_names(fl_ctx):
                dxo = self._locator.locate_model(name, fl_ctx)
                if not isinstance(dxo, DXO):
                    raise TypeError(
                        f"{type(self._locator).__name__} returned a {type(dxo).__name__} for {name!r}, no DXO"
                    )
                self._models[f"SRV_{name}"] = dxo
        for owner, dxo in self._models.items():
            if abort_signal.triggered:
                return
            self._evaluate(owner, dxo, abort_signal, fl_ctx)

    def stop_controller(self, fl_ctx: FLContext) -> None:
        """Describe the results."""
        if self._formatter is not None:
            self.log_info(fl_ctx, self._formatter.format(fl_ctx))
        self._models.clear()

    def _evaluate(self, owner: str, dxo: DXO, abort_signal: Signal, fl_ctx: FLContext) -> None:
        data = dxo.to_shareable()
        data.set_header(AppConstants.MODEL_OWNER, owner)
        data.add_cookie(AppConstants.MODEL_OWNER, owner)
        task = Task(
            self.validation_task_name,
            data,
            props={AppConstants.MODEL_OWNER: owner},
            timeout=self.validation_timeout,
            before_task_sent_cb=self._before_evaluation,
            result_received_cb=self._receive_result,
        )
        self.broadcast_and_wait(task, fl_ctx, self._sites, len(self._sites), abort_signal=abort_signal)

    def _before_evaluation(self, client_task: ClientTask, fl_ctx: FLContext) -> None:
        owner = client_task.task.props[AppConstants.MODEL_OWNER]
        fl_ctx.set_prop(AppConstants.DATA_CLIENT, client_task.client, private=True, sticky=False)
        fl_ctx.set_prop(AppConstants.MODEL_OWNER, owner, private=True, sticky=False)
        fl_ctx.set_prop(AppConstants.MODEL_TO_VALIDATE, client_task.task.data, private=True, sticky=False)
        self.fire_event(AppEventType.SEND_MODEL_FOR_VALIDATION, fl_ctx)

    def _receive_local_model(self, client_task: ClientTask, fl_ctx: FLContext) -> None:
        site, result = client_task.client.name, client_task.result
        fl_ctx.set_prop(AppConstants.RECEIVED_MODEL, result, private=True, sticky=False)
        fl_ctx.set_prop(AppConstants.RECEIVED_MODEL_OWNER, site, private=True, sticky=False)
        self.fire_event(AppEventType.RECEIVE_BEST_MODEL, fl_ctx)
        code = result.get_return_code()
        if code and code != ReturnCode.OK:
            self.log_error(fl_ctx, f"{site} has no model of its own: {code}")
            return
        self._models.update(get_leaf_dxos(from_shareable(result), site)[0])

    def _receive_result(self, client_task: ClientTask, fl_ctx: FLContext) -> None:
        site, result = client_task.client.name, client_task.result
        owner = client_task.task.props[AppConstants.MODEL_OWNER]
        code = result.get_return_code()
        if code and code != ReturnCode.OK:
            raise ValueError(f"{site} could not evaluate the model {owner}: {code}")
        metrics = from_shareable(result)
        self._note(owner, site, metrics, result, fl_ctx)

    def _note(self, owner: str, site: str, metrics: DXO, result: Shareable, fl_ctx: FLContext) -> None:
        metrics.to_file(str(self._result_dir / f"{site}_{owner}"))
        fl_ctx.set_prop(AppConstants.MODEL_OWNER, owner, private=True, sticky=False)
        fl_ctx.set_prop(AppConstants.DATA_CLIENT, site, private=True, sticky=False)
        fl_ctx.set_prop(AppConstants.VALIDATION_RESULT, result, private=True, sticky=False)
        self.fire_event(AppEventType.VALIDATION_RESULT_RECEIVED, fl_ctx)

    def _component(self, name: str, kind: type) -> Any:
        if not name:
            return None
        found = self._engine.get_component(name)
        if not isinstance(found, kind):
            raise TypeError(f"the component {name!r} is a {type(found).__name__}, no {kind.__name__}")
        return found

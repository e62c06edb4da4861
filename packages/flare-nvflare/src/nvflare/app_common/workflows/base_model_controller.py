"""BaseModelController: what controllers share that send models."""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from flare_core import FLModel, ParamsType
from nvflare.apis.client import Client
from nvflare.apis.controller_spec import ClientTask, Task
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl.controller import Controller
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal
from nvflare.app_common.abstract.learnable_persistor import LearnablePersistor
from nvflare.app_common.abstract.model import ModelLearnable, ModelLearnableKey, make_model_learnable
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.app_event_type import AppEventType
from nvflare.app_common.utils.error_handling import should_ignore_result_error
from nvflare.app_common.utils.fl_component_wrapper import FLComponentWrapper
from nvflare.app_common.utils.fl_model_utils import FLModelUtils
from nvflare.app_common.workflows.resumable_rounds import ResumableRounds


class BaseModelController(ResumableRounds, Controller, FLComponentWrapper):
    """Sends models to sites, and gives their answers as models.

    Args:
        persistor_id: the component that stores models; an empty string for none.
        ignore_result_error: go on without sites that fail: True always, False never, None while enough are left.
        allow_empty_global_weights: begin without a model.
        task_check_period: ignored.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: ``task_check_period`` is not above 0.
    """

    def __init__(
        self,
        persistor_id: str = AppConstants.DEFAULT_PERSISTOR_ID,
        ignore_result_error: bool | None = None,
        allow_empty_global_weights: bool = False,
        task_check_period: float = 0.5,
    ) -> None:
        super().__init__(task_check_period=task_check_period)
        if not isinstance(persistor_id, str):
            raise TypeError(f"persistor_id is {persistor_id!r}; give the id of a component, or an empty string")
        if isinstance(task_check_period, bool) or not isinstance(task_check_period, int | float):
            raise TypeError(f"task_check_period is {task_check_period!r}; give a number of seconds")
        if task_check_period <= 0:
            raise ValueError(f"task_check_period is {task_check_period!r}; give a number of seconds above 0")
        self._persistor_id = persistor_id
        self._ignore_result_error = ignore_result_error
        self._allow_empty_global_weights = allow_empty_global_weights
        self.persistor: Any = None
        self._results: list[FLModel] = []
        self._least, self._count = 0, 0
        self._failed: set[str] = set()

    def initialize(self, fl_ctx: FLContext | None = None) -> None:
        """Prepare the controller for a run; called without a context, prepare what a subclass adds."""
        if fl_ctx is not None:
            Controller.initialize(self, fl_ctx)

    def start_controller(self, fl_ctx: FLContext) -> None:
        """Find the persistor."""
        self.fl_ctx = fl_ctx
        self.engine = fl_ctx.get_engine()
        if self._persistor_id:
            self.persistor = self.engine.get_component(self._persistor_id)
            if not isinstance(self.persistor, LearnablePersistor):
                kind = type(self.persistor).__name__
                self.warning(
                    f"the component {self._persistor_id!r} is a {kind}, no LearnablePersistor; no model is stored"
                )
                self.persistor = None
        self.initialize()

    def control_flow(self, abort_signal: Signal, fl_ctx: FLContext) -> None:
        """Run the algorithm."""
        self.fl_ctx, self.abort_signal = fl_ctx, abort_signal
        self.event(AppEventType.TRAINING_STARTED)
        self.run()

    def stop_controller(self, fl_ctx: FLContext) -> None:
        """Finish."""
        self.fl_ctx = fl_ctx
        self.finalize()

    @abstractmethod
    def run(self) -> None:
        """Run the algorithm to its end."""

    def broadcast_model(
        self,
        data: FLModel,
        task_name: str = AppConstants.TASK_TRAIN,
        targets: Any = None,
        min_responses: int | None = None,
        timeout: int = 0,
        wait_time_after_min_received: int = 0,
        blocking: bool = True,
        callback: Callable[[FLModel], None] | None = None,
    ) -> list[FLModel] | None:
        """Give a task with a model to sites.

        Args:
            data: the model.
            task_name: the task.
            targets: the sites; None for all.
            min_responses: how many answers are awaited; None for those of all targets.
            timeout: seconds after which no more are awaited; 0 for no limit.
            wait_time_after_min_received: seconds to wait for more answers.
            blocking: wait, and return the answers.
            callback: called with each answer, if this does not wait.
        Raises:
            TypeError: an argument has the wrong type.
        """
        if not isinstance(task_name, str):
            raise TypeError(f"task_name is {task_name!r}; give a string")
        if not isinstance(data, FLModel):
            raise TypeError(f"data is a {type(data).__name__}; give an FLModel")
        if not blocking and not callable(callback):
            raise TypeError(f"callback is {callback!r}; give a function, since this does not wait for the answers")
        data = self.as_planned(data)
        least = min_responses or 0
        self._count = len(targets) if targets else len(self.engine.get_clients())
        self._least, self._failed = least or self._count, set()
        self.set_fl_context(data)
        self.fire_event(AppEventType.ROUND_STARTED, self.fl_ctx)
        task = self._task(data, task_name, timeout, callback)
        if not blocking:
            self.broadcast(task, self.fl_ctx, targets, least, wait_time_after_min_received)
            return None
        self._results = []
        self.broadcast_and_wait(
            task, self.fl_ctx, targets, least, wait_time_after_min_received, abort_signal=self.abort_signal
        )
        results, self._results = self._results, []
        return results

    def _task(self, data: FLModel, task_name: str, timeout: int, callback: Any) -> Task:
        shareable = FLModelUtils.to_shareable(data)
        shareable.add_cookie(AppConstants.CONTRIBUTION_ROUND, shareable.get_header(AppConstants.CURRENT_ROUND))
        return Task(
            task_name,
            shareable,
            props={AppConstants.TASK_PROP_CALLBACK: callback, AppConstants.META_DATA: data.meta},
            timeout=timeout,
            before_task_sent_cb=self._prepare_task_data,
            result_received_cb=self._process_result,
        )

    def _prepare_task_data(self, client_task: ClientTask, fl_ctx: FLContext) -> None:
        data = client_task.task.data
        self.fire_event_with_data(AppEventType.BEFORE_TRAIN_TASK, fl_ctx, AppConstants.TRAIN_SHAREABLE, data)

    def _process_result(self, client_task: ClientTask, fl_ctx: FLContext) -> None:
        site, result, task = client_task.client.name, client_task.result, client_task.task
        self.fl_ctx = fl_ctx
        round_ = task.data.get_header(AppConstants.CURRENT_ROUND)
        if round_ is not None:
            fl_ctx.set_prop(AppConstants.CURRENT_ROUND, round_, private=True, sticky=False)
        self.event(AppEventType.BEFORE_CONTRIBUTION_ACCEPT)
        accepted = self._accept_train_result(site, result, fl_ctx)
        self.event(AppEventType.AFTER_CONTRIBUTION_ACCEPT)
        client_task.result = None
        if not accepted:
            return
        model = FLModelUtils.from_shareable(result)
        model.meta["props"] = task.props[AppConstants.META_DATA]
        model.meta["client_name"] = site
        if model.current_round is None:
            model.current_round = round_
        callback = task.get_prop(AppConstants.TASK_PROP_CALLBACK)
        if callback:
            callback(model)
        else:
            self._results.append(model)

    def _accept_train_result(self, client_name: str, result: Shareable, fl_ctx: FLContext) -> bool:
        """Return True if a result is used; a failure that is not tolerated ends the run."""
        self.fl_ctx = fl_ctx
        code = result.get_return_code()
        if code and code != ReturnCode.OK:
            ignored = should_ignore_result_error(
                self._ignore_result_error, client_name, self._failed, self._count, self._least
            )
            if not ignored:
                self.panic(f"{client_name} answered {type(self).__name__} with {code}")
            return False
        fl_ctx.set_prop(AppConstants.TRAINING_RESULT, result, private=True, sticky=False)
        return True

    def process_result_of_unknown_task(
        self, client: Client, task_name: str, client_task_id: str, result: Shareable, fl_ctx: FLContext
    ) -> None:
        """Drop a late result."""
        self.fl_ctx = fl_ctx
        self.error(f"a late result of {client.name} is not used")

    def load_model(self) -> FLModel:
        """Return the model to begin with: that of the last round if the run continues, else the persistor's.

        Without a persistor it has no params.

        Raises:
            ValueError: the persistor has none.
            TypeError: the persistor returned something else.
        """
        if self.persistor is None:
            model = FLModel(params_type=ParamsType.FULL, params={})
        else:
            loaded = self.persistor.load(self.fl_ctx)
            if not isinstance(loaded, ModelLearnable):
                kind = type(loaded).__name__
                raise TypeError(f"{type(self.persistor).__name__}.load() returned a {kind}, not a ModelLearnable")
            if loaded.is_empty() and not self._allow_empty_global_weights:
                loaded = self.fl_ctx.get_prop(AppConstants.GLOBAL_MODEL)
                if loaded is None or loaded.is_empty():
                    raise ValueError(
                        f"{type(self.persistor).__name__} has no model to begin with; give it one, or set"
                        " allow_empty_global_weights"
                    )
            weights, meta = loaded[ModelLearnableKey.WEIGHTS], loaded[ModelLearnableKey.META]
            model = FLModel(params_type=ParamsType.FULL, params=weights, meta=dict(meta or {}))
        model = self._restored or model
        self.fl_ctx.set_prop(
            AppConstants.GLOBAL_MODEL, make_model_learnable(model.params, model.meta), private=True, sticky=True
        )
        self.event(AppEventType.INITIAL_MODEL_LOADED)
        return model

    def save_model(self, model: FLModel) -> None:
        """Store a model with the persistor, if there is one."""
        self.note_model(model)
        if self.persistor is None:
            self.error("there is no persistor, so the model is not stored")
            return
        self.event(AppEventType.BEFORE_LEARNABLE_PERSIST)
        learnable = make_model_learnable(model.params, model.meta)
        self.persistor.save(learnable, self.fl_ctx)
        self.fl_ctx.set_prop(AppConstants.GLOBAL_MODEL, learnable, private=True, sticky=True)
        self.event(AppEventType.AFTER_LEARNABLE_PERSIST)

    def sample_clients(self, num_clients: int | None = None) -> list[str]:
        """Return the names of sites: all, or ``num_clients`` of them drawn at random.

        Raises:
            ValueError: ``num_clients`` is no such number.
        """
        names = [client.name for client in self.engine.get_clients()]
        if num_clients is None:
            return names
        if isinstance(num_clients, bool) or not isinstance(num_clients, int) or num_clients < 1:
            raise ValueError(f"num_clients is {num_clients!r}; give an integer of at least 1")
        if num_clients < len(names):
            names = random.sample(names, num_clients)
        elif num_clients > len(names):
            self.info(f"{num_clients} sites were asked for, there are {len(names)}")
        return names

    def set_fl_context(self, data: FLModel) -> None:
        """Put a model and its round into the context, for other components."""
        if data.current_round is not None:
            self.fl_ctx.set_prop(AppConstants.CURRENT_ROUND, data.current_round, private=True, sticky=True)
        if data.total_rounds is not None:
            self.fl_ctx.set_prop(AppConstants.NUM_ROUNDS, data.total_rounds, private=True, sticky=False)
        learnable = make_model_learnable(data.params, data.meta)
        self.fl_ctx.set_prop(AppConstants.GLOBAL_MODEL, learnable, private=True, sticky=True)

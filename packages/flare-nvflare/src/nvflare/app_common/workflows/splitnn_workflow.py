"""Split learning: one site has the data, the other the labels, and each a part of the model."""

from __future__ import annotations

from nvflare.apis.controller_spec import Task
from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl.controller import Controller
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal
from nvflare.app_common.abstract.learnable_persistor import LearnablePersistor
from nvflare.app_common.abstract.shareable_generator import ShareableGenerator
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.app_event_type import AppEventType


class SplitNNDataKind:
    """Kinds of data."""

    ACTIVATIONS = "_splitnn_activations_"
    GRADIENT = "_splitnn_gradient_"


class SplitNNConstants:
    """Names."""

    BATCH_INDICES = "_splitnn_batch_indices_"
    DATA = "_splitnn_data_"
    BATCH_SIZE = "_splitnn_batch_size_"
    TARGET_NAMES = "_splitnn_target_names_"
    TASK_INIT_MODEL = "_splitnn_task_init_model_"
    TASK_TRAIN_LABEL_STEP = "_splitnn_task_train_label_step_"
    TASK_VALID_LABEL_STEP = "_splitnn_task_valid_label_step_"
    TASK_TRAIN = "_splitnn_task_train_"
    TASK_LABEL_STEP = "_splitnn_task_label_step_"
    TASK_RESULT = "_splitnn_task_result_"
    TIMEOUT = 60.0


class SplitNNController(Controller):
    """Gives the model to both sites, then lets them train; they exchange activations and gradients by themselves.

    Args:
        num_rounds: how many batches they train.
        start_round: the number of the first.
        persistor_id, shareable_generator_id: the components that have the model to begin with, and send it.
        init_model_task_name, train_task_name: the tasks.
        task_timeout: ignored.
        ignore_result_error: ignored; a site that answers with an error ends the run.
        batch_size: the size of a batch.

    Raises:
        ValueError: a number is negative, or no integer.
    """

    def __init__(
        self,
        num_rounds: int = 5000,
        start_round: int = 0,
        persistor_id: str = AppConstants.DEFAULT_PERSISTOR_ID,
        shareable_generator_id: str = AppConstants.DEFAULT_SHAREABLE_GENERATOR_ID,
        init_model_task_name: str = SplitNNConstants.TASK_INIT_MODEL,
        train_task_name: str = SplitNNConstants.TASK_TRAIN,
        task_timeout: int = 10,
        ignore_result_error: bool = True,
        batch_size: int = 256,
    ) -> None:
        super().__init__()
        for name, value in (("num_rounds", num_rounds), ("start_round", start_round), ("batch_size", batch_size)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise ValueError(f"{name} is {value!r}; give an integer of at least 0")
        self.num_rounds = num_rounds
        self.start_round = start_round
        self.persistor_id = persistor_id
        self.shareable_generator_id = shareable_generator_id
        self.init_model_task_name = init_model_task_name
        self.train_task_name = train_task_name
        self.task_timeout = task_timeout
        self.ignore_result_error = ignore_result_error
        self.batch_size = batch_size
        self.targets_names = ["site-1", "site-2"]

    def start_controller(self, fl_ctx: FLContext) -> None:
        """Load the model.

        Raises:
            TypeError: a component is missing, or of the wrong class.
        """
        engine = fl_ctx.get_engine()
        for name, kind in ((self.persistor_id, LearnablePersistor), (self.shareable_generator_id, ShareableGenerator)):
            found = engine.get_component(name)
            if not isinstance(found, kind):
                raise TypeError(f"the component {name!r} is a {type(found).__name__}, no {kind.__name__}")
        fl_ctx.set_prop(AppConstants.START_ROUND, self.start_round, private=True, sticky=True)
        fl_ctx.set_prop(AppConstants.NUM_ROUNDS, self.num_rounds, private=True, sticky=False)
        self._model = engine.get_component(self.persistor_id).load(fl_ctx)
        fl_ctx.set_prop(AppConstants.GLOBAL_MODEL, self._model, private=True, sticky=True)
        self.fire_event(AppEventType.INITIAL_MODEL_LOADED, fl_ctx)

    def control_flow(self, abort_signal: Signal, fl_ctx: FLContext) -> None:
        """Initialize both sites, then let them train.

        Raises:
            ValueError: the sites are others than two of the names ``site-1`` and ``site-2``.
        """
        sites = sorted(client.name for client in fl_ctx.get_engine().get_clients())
        if sites != self.targets_names:
            raise ValueError(
                f"the sites are {', '.join(sites)}; split learning needs {' and '.join(self.targets_names)}"
            )
        generator = fl_ctx.get_engine().get_component(self.shareable_generator_id)
        self._all_do(
            self.init_model_task_name, generator.learnable_to_shareable(self._model, fl_ctx), abort_signal, fl_ctx
        )
        order = Shareable()
        order.set_header(AppConstants.NUM_ROUNDS, self.num_rounds)
        order.set_header(SplitNNConstants.BATCH_SIZE, self.batch_size)
        order.set_header(SplitNNConstants.TARGET_NAMES, self.targets_names)
        self._all_do(self.train_task_name, order, abort_signal, fl_ctx)

    def stop_controller(self, fl_ctx: FLContext) -> None:
        """Do nothing: the models stay at the sites."""

    def _all_do(self, name: str, data: Shareable, abort_signal: Signal, fl_ctx: FLContext) -> None:
        task = Task(name, data)
        self.broadcast_and_wait(task, fl_ctx, min_responses=len(self.targets_names), abort_signal=abort_signal)

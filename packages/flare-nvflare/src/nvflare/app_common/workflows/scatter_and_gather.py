"""ScatterAndGather: rounds of training at all sites, with an aggregator."""

from __future__ import annotations

from typing import Any

from nvflare.apis.client import Client
from nvflare.apis.controller_spec import ClientTask, Task
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl.controller import Controller
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal
from nvflare.app_common.abstract.aggregator import Aggregator
from nvflare.app_common.abstract.learnable_persistor import LearnablePersistor
from nvflare.app_common.abstract.model import ModelLearnable
from nvflare.app_common.abstract.shareable_generator import ShareableGenerator
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.app_event_type import AppEventType
from nvflare.app_common.utils.error_handling import should_ignore_result_error


class ScatterAndGather(Controller):
    """In each round, sends the model to all sites, aggregates their results, and stores the new model.

    Args:
        min_clients: how many results a round needs.
        num_rounds: how many rounds there are.
        start_round: the number of the first.
        wait_time_after_min_received: seconds to wait for more results.
        aggregator_id, persistor_id, shareable_generator_id: the components that do the parts of the work.
        train_task_name: the name of the task.
        train_timeout: seconds after which results are no longer awaited; 0 for no limit.
        ignore_result_error: go on without sites that fail: True always, False never, None while enough are left.
        allow_empty_global_weights: begin without a model.
        task_check_period, snapshot_every_n_rounds, memory_gc_rounds: ignored.
        persist_every_n_rounds: how often to store the model; 0 for the end only.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a number is negative.
    """

    def __init__(
        self,
        min_clients: int = 1000,
        num_rounds: int = 5,
        start_round: int = 0,
        wait_time_after_min_received: int = 10,
        aggregator_id: str = AppConstants.DEFAULT_AGGREGATOR_ID,
        persistor_id: str = "",
        shareable_generator_id: str = AppConstants.DEFAULT_SHAREABLE_GENERATOR_ID,
        train_task_name: str = AppConstants.TASK_TRAIN,
        train_timeout: int = 0,
        ignore_result_error: bool | None = None,
        allow_empty_global_weights: bool = False,
        task_check_period: float = 0.5,
        persist_every_n_rounds: int = 1,
        snapshot_every_n_rounds: int = 1,
        memory_gc_rounds: int = 1,
    ) -> None:
        super().__init__(task_check_period=task_check_period)
        for name, value, kind in (
            ("min_clients", min_clients, int),
            ("num_rounds", num_rounds, int),
            ("start_round", start_round, int),
            ("aggregator_id", aggregator_id, str),
            ("persistor_id", persistor_id, str),
            ("shareable_generator_id", shareable_generator_id, str),
            ("train_task_name", train_task_name, str),
        ):
            if not isinstance(value, kind) or isinstance(value, bool):
                raise TypeError(f"{name} is {value!r}; give a value of type {kind.__name__}")
            if kind is int and value < 0:  # type: ignore[operator]  # an int
                raise ValueError(f"{name} is {value!r}; give at least 0")
        self.min_clients = min_clients
        self.num_rounds = num_rounds
        self.start_round = start_round
        self.wait_time_after_min_received = wait_time_after_min_received
        self.aggregator_id = aggregator_id
        self.persistor_id = persistor_id
        self.shareable_generator_id = shareable_generator_id
        self.train_task_name = train_task_name
        self.train_timeout = train_timeout
        self.ignore_result_error = ignore_result_error
        self.allow_empty_global_weights = allow_empty_global_weights
        self.task_check_period = task_check_period
        self.persist_every_n_rounds = persist_every_n_rounds
        self.snapshot_every_n_rounds = snapshot_every_n_rounds
        self.memory_gc_rounds = memory_gc_rounds
        self.aggregator: Any = None
        self.persistor: Any = None
        self.shareable_gen: Any = None
        self._phase = AppConstants.PHASE_INIT
        self._global_weights: Any = ModelLearnable()
        self._current_round: int | None = None
        self._failed: set[str] = set()
        self._next_round: int | None = None  # of a run that was continued

    def get_persist_state(self, fl_ctx: FLContext) -> dict[str, Any]:
        """Return the next round, and the model to begin it with."""
        if self._current_round is None:
            return {}
        return {"current_round": self._current_round, "global_weights": self._global_weights}

    def restore(self, state_data: dict[str, Any], fl_ctx: FLContext) -> None:
        """Begin with the next round and that model."""
        self._next_round, self._global_weights = state_data["current_round"], state_data["global_weights"]

    def start_controller(self, fl_ctx: FLContext) -> None:
        """Find the components, and load the model.

        Raises:
            TypeError: a component is of another kind.
            ValueError: there is no model to begin with.
        """
        self._phase = AppConstants.PHASE_INIT
        self.aggregator = self._component(self.aggregator_id, Aggregator)
        self.shareable_gen = self._component(self.shareable_generator_id, ShareableGenerator)
        fl_ctx.set_prop(AppConstants.START_ROUND, self.start_round, private=True, sticky=True)
        fl_ctx.set_prop(AppConstants.NUM_ROUNDS, self.num_rounds, private=True, sticky=False)
        if self.persistor_id:
            self.persistor = self._component(self.persistor_id, LearnablePersistor)
            loaded = self.persistor.load(fl_ctx)
            self._global_weights = loaded if self._next_round is None else self._global_weights
            if not isinstance(self._global_weights, ModelLearnable):
                kind = type(self._global_weights).__name__
                raise TypeError(f"{type(self.persistor).__name__}.load() returned a {kind}, not a ModelLearnable")
            if self._global_weights.is_empty() and not self.allow_empty_global_weights:
                self._global_weights = fl_ctx.get_prop(AppConstants.GLOBAL_MODEL)
                if not isinstance(self._global_weights, ModelLearnable):
                    raise ValueError(
                        f"{type(self.persistor).__name__} has no model to begin with; give it one, or set"
                        " allow_empty_global_weights"
                    )
            fl_ctx.set_prop(AppConstants.GLOBAL_MODEL, self._global_weights, private=True, sticky=True)
            self.fire_event(AppEventType.INITIAL_MODEL_LOADED, fl_ctx)

    def control_flow(self, abort_signal: Signal, fl_ctx: FLContext) -> None:
        """Run the rounds."""
        self._phase = AppConstants.PHASE_TRAIN
        fl_ctx.set_prop(AppConstants.PHASE, self._phase, private=True, sticky=False)
        fl_ctx.set_prop(AppConstants.NUM_ROUNDS, self.num_rounds, private=True, sticky=False)
        self.fire_event(AppEventType.TRAINING_STARTED, fl_ctx)
        first = self.start_round if self._next_round is None else self._next_round
        for round_ in range(first, self.start_round + self.num_rounds):
            self._current_round = round_
            if abort_signal.triggered:
                return
            self._run_round(abort_signal, fl_ctx)
        self._phase = AppConstants.PHASE_FINISHED

    def stop_controller(self, fl_ctx: FLContext) -> None:
        """Finish."""
        self._phase = AppConstants.PHASE_FINISHED

    def process_result_of_unknown_task(
        self, client: Client, task_name: str, client_task_id: str, result: Shareable, fl_ctx: FLContext
    ) -> None:
        """Drop a late result."""
        self.log_error(fl_ctx, f"a late result of {client.name} is not used")

    def _run_round(self, abort_signal: Signal, fl_ctx: FLContext) -> None:
        fl_ctx.set_prop(AppConstants.GLOBAL_MODEL, self._global_weights, private=True, sticky=True)
        fl_ctx.set_prop(AppConstants.CURRENT_ROUND, self._current_round, private=True, sticky=True)
        self.fire_event(AppEventType.ROUND_STARTED, fl_ctx)
        self._failed = set()
        self.broadcast_and_wait(
            self._train_task(fl_ctx),
            fl_ctx,
            min_responses=self.min_clients,
            wait_time_after_min_received=self.wait_time_after_min_received,
            abort_signal=abort_signal,
        )
        if abort_signal.triggered:
            return
        self.fire_event(AppEventType.BEFORE_AGGREGATION, fl_ctx)
        result = self.aggregator.aggregate(fl_ctx)
        self.fire_event_with_data(AppEventType.AFTER_AGGREGATION, fl_ctx, AppConstants.AGGREGATION_RESULT, result)
        self.fire_event(AppEventType.BEFORE_SHAREABLE_TO_LEARNABLE, fl_ctx)
        self._global_weights = self.shareable_gen.shareable_to_learnable(result, fl_ctx)
        fl_ctx.set_prop(AppConstants.GLOBAL_MODEL, self._global_weights, private=True, sticky=True)
        self.fire_event(AppEventType.AFTER_SHAREABLE_TO_LEARNABLE, fl_ctx)
        if self.persistor is not None and self._is_time_to_persist():
            self.fire_event(AppEventType.BEFORE_LEARNABLE_PERSIST, fl_ctx)
            self.persistor.save(self._global_weights, fl_ctx)
            self.fire_event(AppEventType.AFTER_LEARNABLE_PERSIST, fl_ctx)
        self.fire_event(AppEventType.ROUND_DONE, fl_ctx)
        self.aggregator.reset(fl_ctx)

    def _train_task(self, fl_ctx: FLContext) -> Task:
        data = self.shareable_gen.learnable_to_shareable(self._global_weights, fl_ctx)
        data.set_header(AppConstants.CURRENT_ROUND, self._current_round)
        data.set_header(AppConstants.NUM_ROUNDS, self.num_rounds)
        data.add_cookie(AppConstants.CONTRIBUTION_ROUND, self._current_round)
        return Task(
            self.train_task_name,
            data,
            timeout=self.train_timeout,
            before_task_sent_cb=self._prepare_train_task_data,
            result_received_cb=self._process_train_result,
        )

    def _prepare_train_task_data(self, client_task: ClientTask, fl_ctx: FLContext) -> None:
        data = client_task.task.data
        self.fire_event_with_data(AppEventType.BEFORE_TRAIN_TASK, fl_ctx, AppConstants.TRAIN_SHAREABLE, data)

    def _process_train_result(self, client_task: ClientTask, fl_ctx: FLContext) -> None:
        self._accept_train_result(client_task.client.name, client_task.result, fl_ctx)
        client_task.result = None

    def _accept_train_result(self, client_name: str, result: Shareable, fl_ctx: FLContext) -> bool:
        """Give a result to the aggregator; return False if it is not used."""
        code = result.get_return_code()
        if code and code != ReturnCode.OK:
            count = len(self._engine.get_clients())
            least = self.min_clients or count
            if not should_ignore_result_error(self.ignore_result_error, client_name, self._failed, count, least):
                self.system_panic(
                    f"{client_name} answered '{self.train_task_name}' with {code} in round {self._current_round}",
                    fl_ctx,
                )
            return False
        fl_ctx.set_prop(AppConstants.CURRENT_ROUND, self._current_round, private=True, sticky=True)
        fl_ctx.set_prop(AppConstants.TRAINING_RESULT, result, private=True, sticky=False)
        self.fire_event(AppEventType.BEFORE_CONTRIBUTION_ACCEPT, fl_ctx)
        accepted = bool(self.aggregator.accept(result, fl_ctx))
        fl_ctx.set_prop(AppConstants.AGGREGATION_ACCEPTED, accepted, private=True, sticky=False)
        self.fire_event(AppEventType.AFTER_CONTRIBUTION_ACCEPT, fl_ctx)
        return accepted

    def _is_time_to_persist(self) -> bool:
        done = (self._current_round or 0) + 1
        is_last = done == self.start_round + self.num_rounds
        return is_last or (self.persist_every_n_rounds != 0 and done % self.persist_every_n_rounds == 0)

    def _component(self, name: str, kind: type) -> Any:
        found = self._engine.get_component(name)
        if not isinstance(found, kind):
            raise TypeError(
                f"the component {name!r} is a {type(found).__name__}; {type(self).__name__} needs an {kind.__name__}"
            )
        return found

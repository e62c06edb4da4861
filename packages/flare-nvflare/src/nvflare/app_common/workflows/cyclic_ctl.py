"""CyclicController: the model passes from site to site."""

from __future__ import annotations

import random
from typing import Any

from nvflare.apis.controller_spec import ClientTask, Task, TaskCompletionStatus
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl.controller import Controller
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal
from nvflare.app_common.abstract.learnable_persistor import LearnablePersistor
from nvflare.app_common.abstract.shareable_generator import ShareableGenerator
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.app_event_type import AppEventType


class RelayOrder:
    """Orders of the sites."""

    FIXED = "FIXED"
    RANDOM = "RANDOM"
    RANDOM_WITHOUT_SAME_IN_A_ROW = "RANDOM_WITHOUT_SAME_IN_A_ROW"


_ORDERS = (RelayOrder.FIXED, RelayOrder.RANDOM, RelayOrder.RANDOM_WITHOUT_SAME_IN_A_ROW)


class CyclicController(Controller):
    """Gives the model to one site after the other; each continues training it.

    Args:
        num_rounds: how often it passes through all sites.
        task_assignment_timeout: ignored.
        persistor_id, shareable_generator_id: the components that do the parts of the work.
        task_name: the task.
        task_check_period, snapshot_every_n_rounds, memory_gc_rounds: ignored.
        persist_every_n_rounds: how often to store the model; 0 for never.
        order: one of :class:`RelayOrder`, or the names of the sites.
        allow_early_termination: a site may end the run with ``EARLY_TERMINATION``.

    Raises:
        TypeError: ``num_rounds`` is no integer.
        ValueError: there is no such order.
    """

    def __init__(
        self,
        num_rounds: int = 5,
        task_assignment_timeout: int = 10,
        persistor_id: str = AppConstants.DEFAULT_PERSISTOR_ID,
        shareable_generator_id: str = AppConstants.DEFAULT_SHAREABLE_GENERATOR_ID,
        task_name: str = AppConstants.TASK_TRAIN,
        task_check_period: float = 0.5,
        persist_every_n_rounds: int = 1,
        snapshot_every_n_rounds: int = 1,
        order: Any = RelayOrder.FIXED,
        allow_early_termination: bool = False,
        memory_gc_rounds: int = 1,
    ) -> None:
        super().__init__(task_check_period=task_check_period)
        if not isinstance(num_rounds, int):
            raise TypeError(f"num_rounds is {num_rounds!r}; give an integer")
        if not isinstance(order, list) and order not in _ORDERS:
            raise ValueError(f"order is {order!r}; give one of {', '.join(_ORDERS)}, or a list of sites")
        self.num_rounds = num_rounds
        self.task_assignment_timeout = task_assignment_timeout
        self.persistor_id = persistor_id
        self.shareable_generator_id = shareable_generator_id
        self.task_name = task_name
        self.persist_every_n_rounds = persist_every_n_rounds
        self.snapshot_every_n_rounds = snapshot_every_n_rounds
        self.order = order
        self.allow_early_termination = allow_early_termination
        self.memory_gc_rounds = memory_gc_rounds
        self.persistor: Any = None
        self.shareable_generator: Any = None
        self._learnable: Any = None
        self._current_round = 0
        self._is_done = False
        self._last: str | None = None
        self._restored: dict[str, Any] = {}

    def get_persist_state(self, fl_ctx: FLContext) -> dict[str, Any]:
        """Return the next round, the model to begin it with, and the site that had it last."""
        return {"current_round": self._current_round, "learnable": self._learnable, "last": self._last}

    def restore(self, state_data: dict[str, Any], fl_ctx: FLContext) -> None:
        """Begin with the next round and that model."""
        self._restored = state_data
        self._last = state_data["last"]

    def start_controller(self, fl_ctx: FLContext) -> None:
        """Find the components, and load the model.

        Raises:
            TypeError: a component is of another kind.
            ValueError: there is one site only.
        """
        self.persistor = self._engine.get_component(self.persistor_id)
        self.shareable_generator = self._engine.get_component(self.shareable_generator_id)
        for name, found, kind in (
            (self.persistor_id, self.persistor, LearnablePersistor),
            (self.shareable_generator_id, self.shareable_generator, ShareableGenerator),
        ):
            if not isinstance(found, kind):
                raise TypeError(f"the component {name!r} is a {type(found).__name__}, no {kind.__name__}")
        if len(self._engine.get_clients()) < 2:
            raise ValueError("a cycle needs at least two sites")
        self._learnable = self._restored.get("learnable", self.persistor.load(fl_ctx))
        fl_ctx.set_prop(AppConstants.GLOBAL_MODEL, self._learnable, private=True, sticky=True)
        fl_ctx.set_prop(AppConstants.NUM_ROUNDS, self.num_rounds, private=True, sticky=True)
        self.fire_event(AppEventType.INITIAL_MODEL_LOADED, fl_ctx)

    def control_flow(self, abort_signal: Signal, fl_ctx: FLContext) -> None:
        """Run the rounds."""
        for round_ in range(self._restored.get("current_round", 0), self.num_rounds):
            if self._is_done or abort_signal.triggered:
                return
            self._current_round = round_
            fl_ctx.set_prop(AppConstants.CURRENT_ROUND, round_, private=True, sticky=True)
            self.fire_event(AppEventType.ROUND_STARTED, fl_ctx)
            targets = self._targets()
            task = Task(self.task_name, self._shareable(fl_ctx), result_received_cb=self._process_result)
            self.relay_and_wait(task, fl_ctx, list(targets), dynamic_targets=False, abort_signal=abort_signal)
            if abort_signal.triggered:
                return
            self._last = targets[-1]
            is_last = round_ + 1 == self.num_rounds or self._is_done
            every = self.persist_every_n_rounds
            if every and ((round_ + 1) % every == 0 or is_last):
                fl_ctx.set_prop(AppConstants.GLOBAL_MODEL, self._learnable, private=True, sticky=True)
                self.fire_event(AppEventType.BEFORE_LEARNABLE_PERSIST, fl_ctx)
                self.persistor.save(self._learnable, fl_ctx)
                self.fire_event(AppEventType.AFTER_LEARNABLE_PERSIST, fl_ctx)
            self.fire_event(AppEventType.ROUND_DONE, fl_ctx)

    def stop_controller(self, fl_ctx: FLContext) -> None:
        """Do nothing."""

    def _targets(self) -> list[str]:
        names = [each.name for each in self._engine.get_clients()]
        if isinstance(self.order, list):
            if missing := [each for each in self.order if each not in names]:
                raise ValueError(f"order names {missing[0]!r}, which is no site of this run")
            return list(self.order)
        if self.order != RelayOrder.FIXED:
            random.shuffle(names)
            if self.order == RelayOrder.RANDOM_WITHOUT_SAME_IN_A_ROW and names[0] == self._last:
                names.append(names.pop(0))
        return names

    def _shareable(self, fl_ctx: FLContext) -> Shareable:
        data: Shareable = self.shareable_generator.learnable_to_shareable(self._learnable, fl_ctx)
        data.set_header(AppConstants.CURRENT_ROUND, self._current_round)
        data.set_header(AppConstants.NUM_ROUNDS, self.num_rounds)
        data.add_cookie(AppConstants.CONTRIBUTION_ROUND, self._current_round)
        return data

    def _process_result(self, client_task: ClientTask, fl_ctx: FLContext) -> None:
        result, task = client_task.result, client_task.task
        code = result.get_return_code()
        if code == ReturnCode.EARLY_TERMINATION and self.allow_early_termination:
            self._is_done = True
            self.cancel_task(task, TaskCompletionStatus.CANCELLED)
            return
        if code and code not in (ReturnCode.OK, ReturnCode.EARLY_TERMINATION):
            raise ValueError(f"{client_task.client.name} answered '{task.name}' with {code}")
        fl_ctx.set_prop(AppConstants.GLOBAL_MODEL, self._learnable, private=True, sticky=True)
        self._learnable = self.shareable_generator.shareable_to_learnable(result, fl_ctx)
        task.data = self._shareable(fl_ctx)

"""Controller, the server's side of a workflow."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from nvflare.apis.client import Client
from nvflare.apis.controller_spec import ControllerSpec, SendOrder, Task, TaskCompletionStatus
from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal

__all__ = ["Client", "Controller", "ControllerSpec", "SendOrder", "Task", "TaskCompletionStatus"]
Targets = Sequence[Client | str] | None


class Controller(FLComponent, ControllerSpec, ABC):
    """Gives tasks to the sites. Flare's own base class for that is flare_core.Workflow.

    Args:
        task_check_period: ignored: results are handled when they arrive.
    """

    _communicator: Any = None
    _engine: Any = None

    def __init__(self, task_check_period: float = 0.2) -> None:
        super().__init__()
        self._task_check_period = task_check_period

    def initialize(self, fl_ctx: FLContext) -> None:
        """Prepare the controller for a run, and start it."""
        self._engine = fl_ctx.get_engine()
        self.start_controller(fl_ctx)

    def set_communicator(self, communicator: Any) -> None:
        """Set what sends the tasks."""
        self._communicator = communicator

    @property
    def communicator(self) -> Any:
        """The part that sends the tasks.

        Raises:
            RuntimeError: the controller is not part of a run.
        """
        if self._communicator is None:
            raise RuntimeError(f"{type(self).__name__} is not part of a run, so it cannot send tasks")
        return self._communicator

    @abstractmethod
    def start_controller(self, fl_ctx: FLContext) -> None:
        """Prepare the work."""

    @abstractmethod
    def control_flow(self, abort_signal: Signal, fl_ctx: FLContext) -> Any:
        """Do the work."""

    @abstractmethod
    def stop_controller(self, fl_ctx: FLContext) -> None:
        """Finish the work."""

    def process_result_of_unknown_task(
        self, client: Client, task_name: str, client_task_id: str, result: Shareable, fl_ctx: FLContext
    ) -> None:
        """Handle the result of a task that is not awaited any more; Flare drops such results itself.

        Args:
            client: the site.
            task_name: the task's name.
            client_task_id: the id of the site's task.
            result: what the site has sent.
            fl_ctx: the context.
        """

    def broadcast(
        self,
        task: Task,
        fl_ctx: FLContext,
        targets: Targets = None,
        min_responses: int = 1,
        wait_time_after_min_received: int = 0,
    ) -> None:
        """Give a task to several sites, and do not wait.

        Args:
            task: the task.
            fl_ctx: the context.
            targets: the sites; None for all.
            min_responses: how many answers are awaited; 0 for those of all targets.
            wait_time_after_min_received: how many seconds to wait for more of them.
        """
        self.communicator.broadcast(task, targets, min_responses, wait_time_after_min_received)

    def broadcast_and_wait(
        self,
        task: Task,
        fl_ctx: FLContext,
        targets: Targets = None,
        min_responses: int = 1,
        wait_time_after_min_received: int = 0,
        abort_signal: Signal | None = None,
    ) -> None:
        """Give a task to several sites and wait for their answers; arguments as for :meth:`broadcast`."""
        self.broadcast(task, fl_ctx, targets, min_responses, wait_time_after_min_received)
        self.communicator.wait(task, abort_signal)

    def broadcast_forever(self, task: Task, fl_ctx: FLContext, targets: Targets = None) -> None:
        """Give a task to sites again whenever they have answered, until it is cancelled.

        Args:
            task: the task.
            fl_ctx: the context.
            targets: the sites; None for all.
        """
        self.communicator.broadcast_forever(task, targets)

    def send(
        self,
        task: Task,
        fl_ctx: FLContext,
        targets: Targets = None,
        send_order: SendOrder = SendOrder.SEQUENTIAL,
        task_assignment_timeout: int = 0,
    ) -> None:
        """Give a task to the first of several sites that is there, and do not wait.

        Args:
            task: the task.
            fl_ctx: the context.
            targets: the sites; None for all.
            send_order, task_assignment_timeout: accepted; a site that is there takes the task at once.
        """
        self.communicator.send(task, targets)

    def send_and_wait(
        self,
        task: Task,
        fl_ctx: FLContext,
        targets: Targets = None,
        send_order: SendOrder = SendOrder.SEQUENTIAL,
        task_assignment_timeout: int = 0,
        abort_signal: Signal | None = None,
    ) -> None:
        """Give a task to the first of several sites that is there, and wait for its answer.

        Args:
            task: the task.
            fl_ctx: the context.
            targets: the sites; None for all.
            send_order, task_assignment_timeout: accepted; a site that is there takes the task at once.
            abort_signal: ends the wait.
        """
        self.send(task, fl_ctx, targets, send_order, task_assignment_timeout)
        self.communicator.wait(task, abort_signal)

    def relay(
        self,
        task: Task,
        fl_ctx: FLContext,
        targets: Targets = None,
        send_order: SendOrder = SendOrder.SEQUENTIAL,
        task_assignment_timeout: int = 0,
        task_result_timeout: int = 0,
        dynamic_targets: bool = True,
    ) -> None:
        """Give a task to one site after the other, and do not wait.

        Args:
            task: the task.
            fl_ctx: the context.
            targets: the sites; None for all.
            send_order, task_assignment_timeout: accepted; a site that is there takes the task at once.
            task_result_timeout: how many seconds each site has; 0 for no limit.
            dynamic_targets: accepted.
        """
        self.communicator.relay(task, targets, task_result_timeout)

    def relay_and_wait(
        self,
        task: Task,
        fl_ctx: FLContext,
        targets: Targets = None,
        send_order: SendOrder = SendOrder.SEQUENTIAL,
        task_assignment_timeout: int = 0,
        task_result_timeout: int = 0,
        dynamic_targets: bool = True,
        abort_signal: Signal | None = None,
    ) -> None:
        """Give a task to one site after the other, and wait for the last.

        Args:
            task: the task.
            fl_ctx: the context.
            targets: the sites; None for all.
            send_order, task_assignment_timeout: accepted; a site that is there takes the task at once.
            task_result_timeout: how many seconds each site has; 0 for no limit.
            dynamic_targets: accepted.
            abort_signal: ends the wait.
        """
        self.relay(task, fl_ctx, targets, send_order, task_assignment_timeout, task_result_timeout, dynamic_targets)
        self.communicator.wait(task, abort_signal)

    def get_num_standing_tasks(self) -> int:
        """Return the number of tasks whose answers are awaited."""
        return int(self.communicator.standing())

    def cancel_task(
        self,
        task: Task,
        completion_status: TaskCompletionStatus = TaskCompletionStatus.CANCELLED,
        fl_ctx: FLContext | None = None,
    ) -> None:
        """Await no more answers to a task.

        Args:
            task: the task.
            completion_status: what the task's status becomes.
            fl_ctx: the context.
        """
        self.communicator.cancel(task, completion_status)

    def cancel_all_tasks(
        self,
        completion_status: TaskCompletionStatus = TaskCompletionStatus.CANCELLED,
        fl_ctx: FLContext | None = None,
    ) -> None:
        """Await no more answers."""
        self.communicator.cancel_all(completion_status)

    def get_client_disconnect_time(self, client_name: str) -> float | None:
        """Return since when a site is gone; None if it is there."""
        return None

    def get_job_target_type(self) -> str:
        """Return where in a job this belongs."""
        return "server"

    def add_to_fed_job(self, job: Any, ctx: Any, **kwargs: Any) -> Any:
        """Add this to the app of a job that ``ctx`` stands for."""
        job.check_kwargs(args_to_check=kwargs, args_expected={})
        return job.add_controller(self, ctx)

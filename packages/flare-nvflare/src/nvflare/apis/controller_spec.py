"""Task and ClientTask: the work that a controller gives to sites."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from nvflare.apis.client import Client
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable

__all__ = [
    "Client",
    "ClientTask",
    "ControllerSpec",
    "OperatorConfigKey",
    "OperatorMethod",
    "SendOrder",
    "Task",
    "TaskCompletionStatus",
    "TaskOperatorKey",
]


class TaskCompletionStatus(Enum):
    """How a task has ended."""

    OK = "ok"
    TIMEOUT = "timeout"
    ERROR = "error"
    CANCELLED = "cancelled"
    ABORTED = "aborted"
    IGNORED = "ignored"
    CLIENT_DEAD = "client_dead"


class TaskOperatorKey:
    """Names in the description of a task's operator."""

    OP_ID = "op_id"
    METHOD = "method"
    NUM_ROUNDS = "num_rounds"
    TARGETS = "targets"
    DATA_FILTERS = "data_filters"
    RESULT_FILTERS = "result_filters"
    AGGREGATOR = "aggregator"
    SHAREABLE_GENERATOR = "shareable_gen"
    PERSISTOR = "persistor"
    TIMEOUT = "timeout"
    TASK_ASSIGNMENT_TIMEOUT = "task_assign_timeout"
    MIN_TARGETS = "min_targets"
    WAIT_TIME_AFTER_MIN_RESPS = "wait_time_after_min_received"


class OperatorMethod:
    """How a task is given to sites."""

    BROADCAST = "bcast"
    RELAY = "relay"


class OperatorConfigKey:
    """Names in the settings of operators."""

    OPERATORS = "operators"


class SendOrder(Enum):
    """Orders in which sites are asked whether they take a task."""

    ANY = "any"
    SEQUENTIAL = "sequential"


class Task:
    """Work for sites.

    Args:
        name: the task's name.
        data: the data for the sites.
        props: properties for the controller's own use.
        timeout: seconds after which results are no longer awaited; 0 for no limit.
        before_task_sent_cb: called with the client task and the context before the task goes to a site.
        after_task_sent_cb: called after that.
        result_received_cb: called when a site has answered.
        task_done_cb: called with the task and the context when no more answers are awaited.
        operator: how operators handle the task.
        secure: protect the data on their way; links are encrypted anyway.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: the timeout is no number of seconds.
    """

    def __init__(
        self,
        name: str,
        data: Shareable,
        props: Mapping[str, Any] | None = None,
        timeout: int = 0,
        before_task_sent_cb: Callable[[ClientTask, FLContext], None] | None = None,
        after_task_sent_cb: Callable[[ClientTask, FLContext], None] | None = None,
        result_received_cb: Callable[[ClientTask, FLContext], None] | None = None,
        task_done_cb: Callable[[Task, FLContext], None] | None = None,
        operator: Any = None,
        secure: bool = False,
    ) -> None:
        if not isinstance(name, str) or not name:
            raise TypeError(f"the name of a task is {name!r}; give a string")
        if not isinstance(data, Shareable):
            raise TypeError(f"the data of the task {name!r} are a {type(data).__name__}; give a Shareable")
        for what, callback in (
            ("before_task_sent_cb", before_task_sent_cb),
            ("after_task_sent_cb", after_task_sent_cb),
            ("result_received_cb", result_received_cb),
            ("task_done_cb", task_done_cb),
        ):
            if callback is not None and not callable(callback):
                raise TypeError(f"{what} of the task {name!r} is a {type(callback).__name__}, which cannot be called")
        if isinstance(timeout, bool) or not isinstance(timeout, int | float) or timeout < 0:
            raise ValueError(f"timeout of the task {name!r} is {timeout!r}; give seconds, or 0 for no limit")
        self.name = name
        self.data = data
        self.operator = operator
        self.props: dict[str, Any] = {} if props is None else dict(props)
        self.timeout = timeout
        self.secure = secure
        self.before_task_sent_cb = before_task_sent_cb
        self.after_task_sent_cb = after_task_sent_cb
        self.result_received_cb = result_received_cb
        self.task_done_cb = task_done_cb
        self.targets: list[str] | None = None
        self.client_tasks: list[ClientTask] = []
        self.last_client_task_map: dict[str, ClientTask] = {}
        self.completion_status: TaskCompletionStatus | None = None
        self.is_standing = False
        self.schedule_time: float | None = None
        self.create_time: float | None = None
        self.exception: BaseException | None = None
        self.task_id = str(uuid.uuid4())

    def set_prop(self, key: str, value: Any) -> None:
        """Set a property."""
        self.props[key] = value

    def get_prop(self, key: str) -> Any:
        """Return a property."""
        return self.props.get(key)

    def __deepcopy__(self, memo: dict[int, Any]) -> Task:
        """Return a task with a copy of the data, and without the results."""
        return Task(
            self.name,
            copy.deepcopy(self.data, memo),
            dict(self.props),
            self.timeout,
            self.before_task_sent_cb,
            self.after_task_sent_cb,
            self.result_received_cb,
            self.task_done_cb,
            self.operator,
            self.secure,
        )


class ClientTask:
    """A task as one site has it.

    Args:
        client: the site.
        task: the task.
    """

    def __init__(self, client: Client, task: Task) -> None:
        self.client = client
        self.task = task
        self.id = str(uuid.uuid4())
        self.task_sent_time: float | None = None
        self.task_send_count = 0
        self.result_received_time: float | None = None
        self.result: Any = None
        self.props: dict[str, Any] = {}


class ControllerSpec:
    """The interface of a controller."""

    def start_controller(self, fl_ctx: FLContext) -> None:
        """Prepare the work."""

    def control_flow(self, abort_signal: Any, fl_ctx: FLContext) -> Any:
        """Do the work."""

    def stop_controller(self, fl_ctx: FLContext) -> None:
        """Finish the work."""

    def process_result_of_unknown_task(
        self, client: Client, task_name: str, client_task_id: str, result: Shareable, fl_ctx: FLContext
    ) -> None:
        """Handle the result of a task that is not awaited any more.

        Args:
            client: the site.
            task_name: the task's name.
            client_task_id: the id of the site's task.
            result: what the site has sent.
            fl_ctx: the context.
        """

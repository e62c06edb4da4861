"""One script's session: the order in which the Client API may be called, whatever carries the tasks."""

from __future__ import annotations

import importlib
import logging
import operator
import os
from dataclasses import replace
from typing import Any

from flare_core.client.tracking import AnalyticsDataType, single_values
from flare_core.errors import ClientApiError, ModelError
from flare_core.executor import SiteChannel
from flare_core.model import FLModel
from flare_core.task import Task

__all__ = ["CHANNEL_VARIABLE", "Session", "attach", "current_session", "open_session"]

CHANNEL_VARIABLE = "FLARE_CHANNEL"
"""Names, as ``module:function``, what connects a script that runs as its own process to its site."""

logger = logging.getLogger(__name__)


class Session:
    """A script's part in a run; also a context manager that shuts down at its end.

    Attributes:
        channel: the site's end of the run.
        rank: of this process in its launch; only that of rank 0 receives params and is heard.
        told_end: whether the script was told that the run is over, which it can have been for a while by then.
    """

    def __init__(self, channel: SiteChannel, rank: int = 0) -> None:
        self.channel = channel
        self.rank = rank
        self.told_end = False
        self._task: Task | None = None
        self._received = False
        self._unanswered = 0  # how often is_running() was called between receive() and send()
        self._closed = False

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exception: object) -> None:
        self.shutdown()

    def is_running(self) -> bool:
        """Wait for the next task; false when the run is over. True at once while a task is unanswered."""
        if self._closed:
            return False
        if self._task is not None and self.rank == 0:
            self._unanswered += self._received
            return True
        self._take(None)
        return self._task is not None

    def receive(self, timeout: float | None = None) -> FLModel | None:
        """Return the model of the current task, waiting up to ``timeout`` seconds for one; None if there is none.

        Raises:
            ClientApiError: it was received in the two passes of the loop before, and not answered.
        """
        if self._closed or self.rank != 0:
            return None
        if self._task is None:
            self._take(timeout)
        if self._task is None:
            return None
        if self._unanswered > 1:  # or a loop that forgets to send would go on with the same model for ever
            raise ClientApiError(
                f"the model of the task '{self._task.name}' was received twice and not answered; "
                "end each pass of the loop with flare.send(flare.FLModel(params=..., metrics=...))"
            )
        self._received = True
        return self._task.model

    def send(self, model: FLModel, *, clear_cache: bool = True) -> None:
        """Answer the current task; ``clear_cache`` empties the model sent and the one received.

        Raises:
            TypeError: ``model`` is no FLModel.
            ClientApiError: the session is over, no model was received, or this one holds neither params nor metrics.
            ModelError: a field of it was set to something unusable, or a metric's name is no text.
        """
        if not isinstance(model, FLModel):
            raise TypeError(f"send takes an FLModel, not a {type(model).__name__}; write flare.FLModel(params=...)")
        if self.rank != 0:
            return
        if self._closed:
            raise ClientApiError("send after shutdown: the session is over")
        if self._task is None or not self._received:
            raise ClientApiError(
                "send without a received model: each send answers one receive; call flare.receive() first, send once"
            )
        if model.params is None and model.metrics is None:
            raise ClientApiError("send needs params, metrics or both; this FLModel has neither")
        if wrong := [name for name in model.metrics or () if not isinstance(name, str)]:
            raise ModelError(f"a metric is called {wrong[0]!r}, a {type(wrong[0]).__name__}; names are text")
        task = self._task
        # A copy is checked anew, as fields may have been set since the model was made. A script may also take the
        # params out of the model received, and send it with metrics alone.
        self.channel.reply(replace(model, params_type=None if model.params is None else model.params_type))
        self._task, self._received, self._unanswered = None, False, 0
        if clear_cache:
            for each in (model, task.model):
                each.params = each.params_type = each.optimizer_params = None

    def is_task(self, name: str) -> bool:
        """Whether the current task has this name."""
        return self.task_name() == name

    def task_name(self) -> str:
        """Name of the current task.

        Raises:
            ClientApiError: there is none.
        """
        if self._task is None:
            raise ClientApiError("there is no current task; call flare.is_running() or flare.receive() first")
        return self._task.name

    def log(self, key: str, value: Any, data_type: AnalyticsDataType | str, **kwargs: Any) -> None:
        """Report a number, or something else, to the record of the run; as for :func:`flare_core.client.log`.

        Raises:
            TypeError: the step is no integer, there are other arguments, or ``data_type`` takes a dict and ``value``
                is none.
        """
        if self.rank != 0:
            return
        kind = AnalyticsDataType(data_type)
        step = kwargs.pop("global_step", kwargs.pop("step", None))
        if step is not None and (isinstance(step, bool) or not hasattr(step, "__index__")):
            raise TypeError(f"global_step of '{key}' is {step!r}; give an integer, or none, to count by rounds")
        if kwargs:
            raise TypeError(f"log of '{key}' has the argument {next(iter(kwargs))!r}, which nobody reads; leave it out")
        for name, one, single in single_values(key, value, kind):
            self.channel.log(name, one, kind=single.value, step=None if step is None else operator.index(step))

    def clear(self) -> None:
        """Empty the model that was received; it must be received again before it can be answered."""
        if self._task is not None:
            model = self._task.model
            model.params = model.params_type = model.optimizer_params = None
        self._received, self._unanswered = False, 0

    def shutdown(self) -> None:
        """End the session: no task is taken any more."""
        self._task, self._received, self._closed = None, False, True
        self.told_end = True

    def _take(self, timeout: float | None) -> None:
        self._task = self.channel.next_task(timeout)
        self._received, self._unanswered = False, 0
        self.told_end = self._task is None and timeout is None


_channel: SiteChannel | None = None
_session: Session | None = None


def attach(channel: SiteChannel | None, session: Session | None = None) -> Session | None:
    """Make ``channel`` the one that the Client API uses in this process, and return the session of the one before.

    Where several scripts take turns in one process, whoever gives the turn attaches the script's channel and the
    session that it had opened.
    """
    global _channel, _session
    before, _channel, _session = _session, channel, session
    return before


def current_session() -> Session:
    """The session of the running script.

    Raises:
        ClientApiError: ``init`` was not called.
    """
    if _session is None:
        raise ClientApiError("flare.init() was not called; call it once, before anything else of the Client API")
    return _session


def open_session(rank: int | str | None) -> Session:
    """Join the run that this process belongs to; a repeated call returns the same session."""
    global _channel, _session
    number = _rank(rank)
    if _session is not None:
        logger.warning("flare.init() was called again; the session goes on")
        return _session
    if _channel is None:
        _channel = _connect(number)
    _session = Session(_channel, number)
    return _session


def _rank(rank: int | str | None) -> int:
    if rank is None:
        world = os.environ.get("WORLD_SIZE", "1")
        rank = os.environ.get("RANK")
        if rank is None and world.isdigit() and int(world) > 1:
            raise ClientApiError(
                f"WORLD_SIZE is {world} but RANK is not set, so it is unknown which of the processes speaks for the"
                " site; launch with torchrun, or call flare.init(rank=...)"
            )
        rank = rank or "0"
    if isinstance(rank, bool) or not isinstance(rank, int | str):
        raise ValueError(f"rank is {rank!r}; give an integer, or its text")
    try:
        number = int(rank)
    except ValueError:
        raise ValueError(f"rank is {rank!r}; give an integer, or its text") from None
    if number < 0:
        raise ValueError(f"rank is {number}; ranks count from 0")
    return number


def _connect(rank: int) -> SiteChannel:
    target = os.environ.get(CHANNEL_VARIABLE)
    if not target:
        raise ClientApiError(
            "there is no run to join: this script is meant to be started by a recipe (train_script=...); to try it"
            " alone, run the recipe in SimEnv(num_clients=1)"
        )
    module, _, function = target.partition(":")
    channel: SiteChannel = getattr(importlib.import_module(module), function)(rank)
    return channel

"""One script's session, which enforces the call order of the Client API over any channel."""

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

CHANNEL_VARIABLE = "FLARE_CHANNEL"
"""Environment variable with the function, as ``module:function``, that connects a script's own process to its site."""

logger = logging.getLogger(__name__)


class Session:
    """A script's session in a run; also a context manager that calls :meth:`shutdown` at its end.

    Attributes:
        channel: the channel to the site.
        rank: the rank of this process; only rank 0 receives params and sends.
        told_end: True once the script has been told that the run is over.
    """

    def __init__(self, channel: SiteChannel, rank: int = 0) -> None:
        self.channel = channel
        self.rank = rank
        self.told_end = False
        self._task: Task | None = None
        self._received = False
        self._unanswered = 0  # number of is_running() calls between receive() and send()
        self._closed = False

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exception: object) -> None:
        self.shutdown()

    def is_running(self) -> bool:
        """Wait for the next task; false when the run is over. Returns true immediately while a task is unanswered."""
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
            ClientApiError: the loop has received it twice without a ``send``.
        """
        if self._closed or self.rank != 0:
            return None
        if self._task is None:
            self._take(timeout)
        if self._task is None:
            return None
        if self._unanswered > 1:  # a loop that forgets to send would never end
            raise ClientApiError(
                f"the model of the task '{self._task.name}' was received twice and not answered; "
                "end each iteration of the loop with flare.send(flare.FLModel(params=..., metrics=...))"
            )
        self._received = True
        return self._task.model

    def send(self, model: FLModel, *, clear_cache: bool = True) -> None:
        """Reply to the current task; ``clear_cache`` empties the sent and the received model.

        Raises:
            TypeError: ``model`` is not an FLModel.
            ClientApiError: the session is over, no model was received, or this one has neither params nor metrics.
            ModelError: a field of it has an invalid value, or the name of a metric is not a string.
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
            raise ModelError(f"the name of a metric is {wrong[0]!r}, a {type(wrong[0]).__name__}; use strings")
        task = self._task
        # The copy is validated again, because fields may have been set since the model was created. A script may also
        # remove the params from the received model and send it with metrics only.
        self.channel.reply(replace(model, params_type=None if model.params is None else model.params_type))
        self._task, self._received, self._unanswered = None, False, 0
        if clear_cache:
            for each in (model, task.model):
                each.params = each.params_type = each.optimizer_params = None

    def task_name(self) -> str:
        """Return the name of the current task.

        Raises:
            ClientApiError: there is none.
        """
        if self._task is None:
            raise ClientApiError("there is no current task; call flare.is_running() or flare.receive() first")
        return self._task.name

    def log(self, key: str, value: Any, data_type: AnalyticsDataType | str, **kwargs: Any) -> None:
        """Record a number or another value; arguments as for :func:`flare_core.client.log`.

        Raises:
            TypeError: the step is not an integer, there are other arguments, or ``value`` is not a dict where
                ``data_type`` requires one.
        """
        if self.rank != 0:
            return
        kind = AnalyticsDataType(data_type)
        step = kwargs.pop("global_step", kwargs.pop("step", None))
        if step is not None and (isinstance(step, bool) or not hasattr(step, "__index__")):
            raise TypeError(f"global_step of '{key}' is {step!r}; give an integer, or omit it to use the round")
        if kwargs:
            raise TypeError(f"log of '{key}' has the unknown argument {next(iter(kwargs))!r}; omit it")
        for name, one, single in single_values(key, value, kind):
            self.channel.log(name, one, kind=single.value, step=None if step is None else operator.index(step))

    def clear(self) -> None:
        """Drop the received model; it must be received again before the task can be answered."""
        if self._task is not None:
            model = self._task.model
            model.params = model.params_type = model.optimizer_params = None
        self._received, self._unanswered = False, 0

    def shutdown(self) -> None:
        """End the session; no more tasks are received."""
        self._task, self._received, self._closed = None, False, True
        self.told_end = True

    def _take(self, timeout: float | None) -> None:
        self._task = self.channel.next_task(timeout)
        self._received, self._unanswered = False, 0
        self.told_end = self._task is None and timeout is None


_channel: SiteChannel | None = None
_session: Session | None = None


def attach(channel: SiteChannel | None, session: Session | None = None) -> Session | None:
    """Set the channel of the Client API in this process, and return the previous session.

    If several scripts take turns in one process, their channels and sessions are attached in turn.
    """
    global _channel, _session
    before, _channel, _session = _session, channel, session
    return before


def current_session() -> Session:
    """Return the session of the running script.

    Raises:
        ClientApiError: ``init`` was not called.
    """
    if _session is None:
        raise ClientApiError("flare.init() was not called; call it once, before the rest of the Client API")
    return _session


def open_session(rank: int | str | None) -> Session:
    """Join the run of this process; a repeated call returns the same session."""
    global _channel, _session
    number = _rank(rank)
    if _session is not None:
        logger.warning("flare.init() was called again; the session continues")
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
                f"WORLD_SIZE is {world} but RANK is not set, so it is unknown which process communicates for the site;"
                " launch with torchrun, or call flare.init(rank=...)"
            )
        rank = rank or "0"
    try:
        number = int(rank) if isinstance(rank, int | str) and not isinstance(rank, bool) else -1
    except ValueError:
        number = -1
    if number < 0:
        raise ValueError(f"rank is {rank!r}; give an integer of at least 0, or a string of one")
    return number


def _connect(rank: int) -> SiteChannel:
    target = os.environ.get(CHANNEL_VARIABLE)
    if not target:
        raise ClientApiError(
            "there is no run to join: this script must be started by a recipe (train_script=...); to try it with one"
            " site, run the recipe in SimEnv(num_clients=1)"
        )
    module, _, function = target.partition(":")
    channel: SiteChannel = getattr(importlib.import_module(module), function)(rank)
    return channel

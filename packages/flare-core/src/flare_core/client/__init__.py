"""The Client API, with which a training script takes part in a federation.

    import flare_core.client as flare

    flare.init()
    while flare.is_running():
        model = flare.receive()
        ...
        flare.send(flare.FLModel(params=..., metrics=...))

The rules are the same in every environment. :func:`is_running` waits for the next task and is false when the run is
over. :func:`receive` returns the model of the current task; further calls return the same one. :func:`send` replies to
the task, once. A loop that calls :func:`receive` a third time without :func:`send` is an error. The script may change
a received model in place, and the arrays that it sent as soon as :func:`send` has returned.

With several processes (``torchrun``), only rank 0 communicates for the site. The others see the same
:func:`is_running`, receive None, and their :func:`send` does nothing.
"""

from __future__ import annotations

import copy
from typing import Any

from flare_core.client.session import Session, current_session, open_session
from flare_core.client.tracking import AnalyticsDataType
from flare_core.model import FLModel, ParamsType

__all__ = [
    "AnalyticsDataType",
    "FLModel",
    "ParamsType",
    "clear",
    "get_config",
    "get_job_id",
    "get_site_name",
    "get_task_name",
    "init",
    "is_evaluate",
    "is_running",
    "is_submit_model",
    "is_train",
    "log",
    "receive",
    "send",
    "shutdown",
    "system_info",
]


def init(rank: int | str | None = None, config_file: str | None = None) -> Session:
    """Join the run; call it once, before anything else.

    Args:
        rank: rank of this process if there are several; by default the environment variable ``RANK``, else 0.
        config_file: ignored; accepted so that existing scripts run.
    Returns:
        The session, which is also a context manager that calls :func:`shutdown` at its end.
    Raises:
        ClientApiError: there is no run to join, or the rank of one of several processes is unknown.
        ValueError: ``rank`` is neither an integer nor a string of one.
    """
    return open_session(rank)


def receive(timeout: float | None = None) -> FLModel | None:
    """Return the model of the current task, waiting for one if there is none.

    Returns:
        The model, with ``params``, ``current_round`` and ``total_rounds``; None when the run is over, after ``timeout``
        seconds without a task, or on a rank other than 0.
    Raises:
        ClientApiError: ``init`` was not called, or the loop has received the model twice without a ``send``.
    """
    return current_session().receive(timeout)


def send(model: FLModel, clear_cache: bool = True) -> None:
    """Reply to the current task.

    Args:
        model: params (a whole model or a difference), metrics, or both. ``metrics`` describe the model as it was
            received; ``meta["NUM_STEPS_CURRENT_ROUND"]`` weighs the contribution.
        clear_cache: set ``params`` of the sent and the received model to None afterwards, which frees their memory
            before the next model arrives.
    Raises:
        TypeError: ``model`` is not an :class:`FLModel`.
        ClientApiError: no model was received since the last ``send``, or the model is empty.
    """
    current_session().send(model, clear_cache=clear_cache)


def is_running() -> bool:
    """Wait for the next task; false when the run is over. Returns true immediately while a task is unanswered."""
    return current_session().is_running()


def is_train() -> bool:
    """Return True if the current task is to train."""
    return get_task_name() == "train"


def is_evaluate() -> bool:
    """Return True if the current task is to evaluate the received model; reply with metrics only."""
    return get_task_name() == "validate"


def is_submit_model() -> bool:
    """Return True if the current task is to submit the site's own model; reply with params."""
    return get_task_name() == "submit_model"


def get_task_name() -> str:
    """Return the name of the current task."""
    return current_session().task_name()


def get_job_id() -> str:
    """Return the id of the run."""
    return current_session().channel.job_id


def get_site_name() -> str:
    """Return the name of this site."""
    return current_session().channel.site


def system_info() -> dict[str, str]:
    """Return a dict with ``job_id`` and ``site_name``."""
    return {"job_id": get_job_id(), "site_name": get_site_name()}


def get_config() -> dict[str, Any]:
    """Return a copy of this site's settings, from ``config`` in ``per_site_config`` and from ``add_client_config``."""
    return copy.deepcopy(current_session().channel.config)


def log(key: str, value: Any, data_type: AnalyticsDataType | str = AnalyticsDataType.METRIC, **kwargs: Any) -> None:
    """Record a number, or another value, in the run's ``metrics.jsonl`` and in its experiment trackers.

    Args:
        key: name of the value.
        value: a number or a string or, for the types ``SCALARS``, ``METRICS``, ``PARAMETERS`` and ``TAGS``, a dict of
            values by name; ``SCALARS`` adds the prefix ``key/`` to each name.
        data_type: type of the value.
        kwargs: ``global_step``, an integer, is the step of the value; the current round by default.
    Raises:
        ClientApiError: ``init`` was not called.
        TypeError: ``global_step`` is not an integer, there are other arguments, or ``value`` is not a dict where
            ``data_type`` requires one.
    """
    current_session().log(key, value, data_type, **kwargs)


def clear() -> None:
    """Drop the received model; it must be received again before the task can be answered."""
    current_session().clear()


def shutdown() -> None:
    """End the session; :func:`is_running` is false from then on."""
    current_session().shutdown()

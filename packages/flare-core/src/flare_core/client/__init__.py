"""The Client API: what a training script calls to take part in a federation.

    import flare_core.client as flare

    flare.init()
    while flare.is_running():
        model = flare.receive()
        ...
        flare.send(flare.FLModel(params=..., metrics=...))

The rules are the same wherever the script runs. After ``init``, :func:`receive` gives the model of the current task, as
often as it is called; :func:`send` answers it, once; :func:`is_running` waits for the next one and is false when the
run is over. A loop that goes round a third time without ``send`` is refused. A model that was received belongs to the
script, which may change it in place. When ``send`` returns, the sent arrays may be changed too.

In a launch of several processes (``torchrun``), the process of rank 0 talks for the site: the others see the same
``is_running``, receive None, and their ``send`` does nothing.
"""

from __future__ import annotations

from typing import Any

from flare_core.client.session import Session, attach, current_session, open_session
from flare_core.client.tracking import AnalyticsDataType
from flare_core.model import FLModel, ParamsType

__all__ = [
    "AnalyticsDataType",
    "FLModel",
    "ParamsType",
    "attach",
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
        rank: this process's rank in a launch of several; the environment variable ``RANK``, else 0, if left out.
        config_file: not needed: a script finds its run by itself. Accepted so that existing scripts run.
    Returns:
        The session, which is also a context manager that shuts down at its end.
    Raises:
        ClientApiError: there is no run to join, or a launch of several processes does not say which rank this is.
        ValueError: ``rank`` is neither an integer nor text of one.
    """
    return open_session(rank)


def receive(timeout: float | None = None) -> FLModel | None:
    """Return the model of the current task, waiting for one if there is none.

    Returns:
        The model; None when the run is over, after ``timeout`` seconds without a task, or on a rank other than 0.
    """
    return current_session().receive(timeout)


def send(model: FLModel, clear_cache: bool = True) -> None:
    """Answer the current task.

    Args:
        model: params (whole or difference), metrics, or both.
        clear_cache: drop the arrays of the sent and of the received model afterwards (their ``params`` become None),
            so that their memory is free before the next model arrives.
    Raises:
        TypeError: ``model`` is no :class:`FLModel`.
        ClientApiError: no model was received since the last ``send``, or the model is empty.
    """
    current_session().send(model, clear_cache=clear_cache)


def is_running() -> bool:
    """Wait for the next task; false when the run is over. True at once while a task is unanswered."""
    return current_session().is_running()


def is_train() -> bool:
    """Whether the current task is to train."""
    return current_session().is_task("train")


def is_evaluate() -> bool:
    """Whether the current task is to evaluate the model received."""
    return current_session().is_task("validate")


def is_submit_model() -> bool:
    """Whether the current task is to submit the site's own model."""
    return current_session().is_task("submit_model")


def get_task_name() -> str:
    """Name of the current task."""
    return current_session().task_name()


def get_job_id() -> str:
    """Id of the run."""
    return current_session().channel.job_id


def get_site_name() -> str:
    """Name of this site."""
    return current_session().channel.site


def system_info() -> dict[str, str]:
    """``job_id`` and ``site_name``."""
    return {"job_id": get_job_id(), "site_name": get_site_name()}


def get_config() -> dict[str, Any]:
    """This site's configuration of the job; a copy."""
    return dict(current_session().channel.config)


def log(key: str, value: Any, data_type: AnalyticsDataType | str = AnalyticsDataType.METRIC, **kwargs: Any) -> None:
    """Report a number, or something else, to the record of the run and to those who follow it, such as a tracker.

    Args:
        key: its name.
        value: for the kinds ``SCALARS``, ``METRICS``, ``PARAMETERS`` and ``TAGS`` a dict of names and values, of which
            ``SCALARS`` alone puts ``key/`` before each name.
        data_type: what kind of thing it is.
        kwargs: ``global_step``, an integer, places it in time; the current round does, if left out.
    Raises:
        ClientApiError: ``init`` was not called.
        TypeError: ``global_step`` is no integer, or a kind that takes a dict got something else.
    """
    current_session().log(key, value, data_type, **kwargs)


def clear() -> None:
    """Drop the received model; the current task can no longer be answered from it."""
    current_session().clear()


def shutdown() -> None:
    """Leave the run: :func:`is_running` is false from now on."""
    current_session().shutdown()

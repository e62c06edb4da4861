"""The Client API, with the session of Flare's own as the context that its functions take."""

from __future__ import annotations

from typing import Any

from flare_core import client
from flare_core.client import AnalyticsDataType, FLModel
from flare_core.client.session import Session as APIContext
from flare_core.client.session import current_session
from flare_core.errors import ClientApiError
from nvflare._flare import controls
from nvflare._flare.params import packed, unpack
from nvflare.app_common.utils.fedprox_utils import FEDPROX_MU

__all__ = [
    "APIContext",
    "clear",
    "get_config",
    "get_context",
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


def get_context(ctx: APIContext | None = None) -> APIContext:
    """Return ``ctx``, or the session of this script if it is None.

    Raises:
        ClientApiError: ``init`` was not called, or ``ctx`` is not what it returned.
    """
    session = current_session()
    if ctx is not None and ctx is not session:
        raise ClientApiError(f"ctx is {ctx!r}; give what flare.init() returned, or leave it out")
    return session


def init(rank: str | int | None = None, config_file: str | None = None) -> APIContext:
    """Join the run; arguments as for :func:`flare_core.client.init`."""
    return client.init(rank, config_file)


def receive(timeout: float | None = None, ctx: APIContext | None = None) -> FLModel | None:
    """Return the model of the current task; see :func:`flare_core.client.receive`."""
    session = get_context(ctx)
    model = session.receive(timeout)
    if model is not None:
        controls.received(session, model)
        unpack(model)
        if (mu := session.channel.config.get(FEDPROX_MU)) is not None:
            model.meta[FEDPROX_MU] = mu
    return model


def send(model: FLModel, clear_cache: bool = True, ctx: APIContext | None = None) -> None:
    """Reply to the current task; arguments as for :func:`flare_core.client.send`, and a context."""
    session = get_context(ctx)
    sent = packed(controls.sent(session, model)) if isinstance(model, FLModel) else model
    session.send(sent, clear_cache=clear_cache)
    if clear_cache and sent is not model:
        model.params = model.params_type = model.optimizer_params = None


def system_info(ctx: APIContext | None = None) -> dict[str, str]:
    """Return a dict with ``job_id`` and ``site_name``."""
    get_context(ctx)
    return client.system_info()


def get_config(ctx: APIContext | None = None) -> dict[str, Any]:
    """Return a copy of this site's settings."""
    get_context(ctx)
    return client.get_config()


def get_job_id(ctx: APIContext | None = None) -> str:
    """Return the id of the run."""
    return get_context(ctx).channel.job_id


def get_site_name(ctx: APIContext | None = None) -> str:
    """Return the name of this site."""
    return get_context(ctx).channel.site


def get_task_name(ctx: APIContext | None = None) -> str:
    """Return the name of the current task."""
    return get_context(ctx).task_name()


def is_running(ctx: APIContext | None = None) -> bool:
    """Wait for the next task; false when the run is over."""
    return get_context(ctx).is_running()


def is_train(ctx: APIContext | None = None) -> bool:
    """Return True if the current task is to train."""
    get_context(ctx)
    return client.is_train()


def is_evaluate(ctx: APIContext | None = None) -> bool:
    """Return True if the current task is to evaluate the received model."""
    get_context(ctx)
    return client.is_evaluate()


def is_submit_model(ctx: APIContext | None = None) -> bool:
    """Return True if the current task is to submit the site's own model."""
    get_context(ctx)
    return client.is_submit_model()


def log(key: str, value: Any, data_type: AnalyticsDataType, ctx: APIContext | None = None, **kwargs: Any) -> None:
    """Record a value of the run; arguments as for :func:`flare_core.client.log`, and a context."""
    get_context(ctx).log(key, value, data_type, **kwargs)


def clear(ctx: APIContext | None = None) -> None:
    """Drop the received model; it must be received again before the task can be answered."""
    get_context(ctx).clear()


def shutdown(ctx: APIContext | None = None) -> None:
    """End the session; :func:`is_running` is false from then on."""
    get_context(ctx).shutdown()

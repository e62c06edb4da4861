"""Filters that were written for NVIDIA FLARE, in the chains of Flare."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flare_core import FLModel
from flare_core.filters import FilterContext, FilterPoint
from nvflare._host.engine import SERVER, engine_of, job_id_of, peer_context
from nvflare._host.wire import METRICS, incoming, model_of
from nvflare.apis.filter import Filter, FilterChainType, FilterContextKey, FilterSource
from nvflare.apis.fl_constant import FLContextKey, ReservedKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable

_AT_SERVER = (FilterPoint.SERVER_OUTPUT, FilterPoint.SERVER_INPUT)
_OF_TASKS = (FilterPoint.SERVER_OUTPUT, FilterPoint.CLIENT_INPUT)


def filtered(
    process: Callable[[Shareable, FLContext], Shareable], owner: Filter, data: Any, context: FilterContext
) -> Any:
    """Return the data of a task or a result after a filter has seen them as a shareable.

    Args:
        process: the filter's own method.
        owner: the filter.
        data: a model, a shareable, or something else, which passes unchanged.
        context: the context in Flare.
    """
    if not isinstance(data, FLModel | Shareable):
        return data
    is_task = context.point in _OF_TASKS
    party = SERVER if context.point in _AT_SERVER else context.site
    engine = engine_of(context.job_id, party)
    if engine is None:
        fl_ctx = FLContext()
        fl_ctx.put(ReservedKey.IDENTITY_NAME, party, private=False, sticky=False)
        fl_ctx.put(ReservedKey.RUN_NUM, job_id_of(context.job_id), private=False, sticky=True)
    else:
        fl_ctx = engine.new_context()
        engine.add_handler(owner)
    fl_ctx.set_prop(FLContextKey.TASK_NAME, context.task, private=True, sticky=False)
    other = context.site if party == SERVER else SERVER
    fl_ctx.set_peer_context(peer_context(other, job_id_of(context.job_id)))
    chain = FilterChainType.TASK_DATA_CHAIN if is_task else FilterChainType.TASK_RESULT_CHAIN
    owner.set_prop(FilterContextKey.CHAIN_TYPE, chain)
    owner.set_prop(FilterContextKey.SOURCE, FilterSource.JOB)
    given = as_shareable(data)
    found: Any = process(given, fl_ctx)
    if not isinstance(found, Shareable):
        raise TypeError(f"{type(owner).__name__}.process() returned a {type(found).__name__}, not a Shareable")
    return _as_before(found, data, is_task=is_task)


def as_shareable(data: Any) -> Any:
    """Return a model as a shareable, without a change of the model; other data are returned unchanged."""
    if not isinstance(data, FLModel):
        return data
    copied = FLModel(
        params_type=data.params_type,
        params=None if data.params is None else dict(data.params),
        metrics=None if data.metrics is None else dict(data.metrics),
        start_round=data.start_round,
        current_round=data.current_round,
        total_rounds=data.total_rounds,
        meta=dict(data.meta),
    )
    return incoming(copied)


def _as_before(found: Shareable, data: Any, *, is_task: bool) -> Any:
    if isinstance(data, Shareable):
        return found
    model = model_of(found)
    if model is None:
        return found
    if is_task and model.metrics is not None:
        model.meta, model.metrics = {**model.meta, METRICS: model.metrics}, None
    model.current_round, model.total_rounds = data.current_round, data.total_rounds
    model.start_round, model.optimizer_params = data.start_round, data.optimizer_params
    return model

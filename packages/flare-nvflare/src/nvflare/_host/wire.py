"""Shareables on their way: models travel as models of Flare, which are streamed and filtered, others as they are.

Params that are no arrays travel as those of scripts do, see :mod:`nvflare._flare.params`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

import flare_fobs
from flare_core import FLModel, ParamsType
from flare_core.model import flatten
from flare_fobs.tensors import to_numpy, to_torch
from nvflare._flare.params import REST, packed, unpack
from nvflare.apis.dxo import DXO, DataKind, from_dict
from nvflare.apis.fl_constant import FLMetaKey
from nvflare.apis.shareable import ReservedHeaderKey, Shareable
from nvflare.app_common.abstract.learnable import Learnable
from nvflare.app_common.abstract.model import ModelLearnable
from nvflare.app_common.app_constant import AppConstants

HEADERS = "nvflare.headers"
MORE = "nvflare.more"
FORM = "nvflare.form"
METRICS = "nvflare.metrics"
_OWN_HEADERS = {ReservedHeaderKey.CONTENT_TYPE, ReservedHeaderKey.PEER_PROPS, ReservedHeaderKey.TASK_OPERATOR}
_KINDS = {DataKind.WEIGHTS: ParamsType.FULL, DataKind.WEIGHT_DIFF: ParamsType.DIFF}


def model_of(shareable: Shareable) -> FLModel | None:
    """Return a shareable as a model that can travel; None if it holds none."""
    if shareable.get_header(ReservedHeaderKey.CONTENT_TYPE) != "DXO":
        return None
    dxo = from_dict(shareable["DXO"])
    if dxo.data_kind not in (*_KINDS, DataKind.METRICS):
        return None
    meta = dict(dxo.meta)
    metrics = meta.pop(FLMetaKey.INITIAL_METRICS, None)
    if dxo.data_kind == DataKind.METRICS:
        metrics, params, kind = dxo.data, None, None
    else:
        params, kind = dxo.data, _KINDS[DataKind(dxo.data_kind)]
    if metrics is not None and not isinstance(metrics, dict):
        meta[FLMetaKey.INITIAL_METRICS] = metrics
        metrics = None
    headers = {key: value for key, value in shareable[ReservedHeaderKey.HEADERS].items() if key not in _OWN_HEADERS}
    if headers:
        meta[HEADERS] = headers
    if rest := {key: value for key, value in shareable.items() if key not in ("DXO", ReservedHeaderKey.HEADERS)}:
        meta[MORE] = rest
    model = FLModel(
        params_type=kind,
        params=params,
        metrics=metrics,
        current_round=_round(headers.get(AppConstants.CURRENT_ROUND)),
        total_rounds=_round(headers.get(AppConstants.NUM_ROUNDS)),
        start_round=_round(meta.get(FLMetaKey.START_ROUND)) or 0,
        meta=meta,
    )
    return formed(model)


def formed(model: FLModel) -> FLModel:
    """Return a model in the form in which scripts send theirs, with a note if its arrays are tensors."""
    model = packed(model)
    if model.params and any(type(value).__module__.startswith("torch") for _, value in flatten(model.params)):
        model = replace(model, params=_mapped(model.params, _to_numpy), meta={**model.meta, FORM: "pytorch"})
    return model


def outgoing(shareable: Shareable) -> Any:
    """Return what to give to Flare as the data of a task or a reply."""
    model = model_of(shareable)
    return shareable if model is None else model


def task_data(shareable: Shareable) -> Any:
    """Return what to give to Flare as the data of a task, whose metrics it would drop."""
    data = outgoing(shareable)
    if isinstance(data, FLModel) and data.metrics is not None:
        data.meta = {**data.meta, METRICS: data.metrics}
        data.metrics = None
    return data


def incoming(data: Any, form: str = "") -> Shareable:
    """Return the data of a task or a reply as a shareable.

    Args:
        data: the data.
        form: ``pytorch`` for tensors instead of arrays, ``layers`` to leave the arrays of a layer apart.

    Raises:
        TypeError: it is neither a model nor a shareable.
    """
    if isinstance(data, Shareable):
        return data
    if not isinstance(data, FLModel):
        raise TypeError(f"a {type(data).__name__} arrived where a Shareable or an FLModel was expected")
    form = data.meta.pop(FORM, form)
    if form == "pytorch" and data.params:
        data.params = _mapped(data.params, to_torch)
    elif data.params is not None:
        data.params = _mapped(data.params, lambda value: value)
    if form == "layers":
        data.meta.pop(REST, None)  # layers without weights
    else:
        unpack(data)
    return shareable_of(data)


def shareable_of(model: FLModel) -> Shareable:
    """Return a model as a shareable; the inverse of :func:`model_of`."""
    meta = dict(model.meta)
    headers, rest = meta.pop(HEADERS, {}), meta.pop(MORE, {})
    metrics = meta.pop(METRICS, None) or model.metrics
    if model.params is None and metrics is not None:
        dxo = DXO(DataKind.METRICS, dict(metrics), meta)
    else:
        kind = DataKind.WEIGHT_DIFF if model.params_type is ParamsType.DIFF else DataKind.WEIGHTS
        if metrics is not None:
            meta[FLMetaKey.INITIAL_METRICS] = dict(metrics)
        dxo = DXO(kind, {} if model.params is None else dict(model.params), meta)
    shareable = dxo.to_shareable()
    shareable.update(rest)
    for key, value in headers.items():
        shareable.set_header(key, value)
    for key, value in (
        (AppConstants.CURRENT_ROUND, model.current_round),
        (AppConstants.NUM_ROUNDS, model.total_rounds),
    ):
        if value is not None and shareable.get_header(key) is None:
            shareable.set_header(key, value)
    return shareable


def _round(value: Any) -> int | None:
    is_round = isinstance(value, int | np.integer) and not isinstance(value, bool) and value >= 0
    return int(value) if is_round else None


def _mapped(params: Mapping[str, Any], convert: Any) -> dict[str, Any]:
    return {
        name: _mapped(value, convert) if isinstance(value, Mapping) else convert(value)
        for name, value in params.items()
    }


def _to_numpy(value: Any) -> Any:
    return to_numpy(value, key="params")


def _dict_of(kind: type) -> Any:
    def decode(state: Any) -> Any:
        if type(state) is not dict:
            raise TypeError(f"a {kind.__name__} is a dict, not a {type(state).__name__}")
        made = kind()
        made.update(state)
        return made

    return decode


for _kind in (Shareable, Learnable, ModelLearnable):
    flare_fobs.register(_kind, f"nvflare.{_kind.__name__}", dict, _dict_of(_kind))
flare_fobs.register(DXO, "nvflare.DXO", DXO.to_dict, from_dict)

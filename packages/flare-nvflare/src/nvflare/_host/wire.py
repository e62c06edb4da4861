"""Shareables on their way: models travel as models of Flare, so that they are streamed and filtered; others as they are.

A model's params need not be arrays for NVIDIA FLARE. Those that hold something else travel in the meta data.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import flare_fobs
from flare_core import FLModel, ParamsType
from flare_core.model import flatten
from flare_fobs.tensors import to_numpy, to_torch
from nvflare.apis.dxo import DXO, DataKind, from_dict
from nvflare.apis.fl_constant import FLMetaKey
from nvflare.apis.shareable import ReservedHeaderKey, Shareable
from nvflare.app_common.abstract.learnable import Learnable
from nvflare.app_common.abstract.model import ModelLearnable
from nvflare.app_common.app_constant import AppConstants

HEADERS = "nvflare.headers"
REST = "nvflare.rest"
ODD = "nvflare.params"
FORM = "nvflare.form"
METRICS = "nvflare.metrics"
_OURS = (HEADERS, REST, ODD, FORM, METRICS)
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
        meta[REST] = rest
    model = FLModel(
        params_type=kind,
        params=params,
        metrics=metrics,
        current_round=_round(headers.get(AppConstants.CURRENT_ROUND)),
        total_rounds=_round(headers.get(AppConstants.NUM_ROUNDS)),
        start_round=_round(meta.get(FLMetaKey.START_ROUND)) or 0,
        meta=meta,
    )
    return packed(model)


def packed(model: FLModel) -> FLModel:
    """Move params that are not arrays into the meta data; note of which framework the arrays are."""
    params = model.params
    if params is None:
        return model
    if not _are_arrays(params):
        model.meta = {**model.meta, ODD: {"params": _plain(params), "type": str(model.params_type)}}
        model.params = model.params_type = None
    elif any(type(value).__module__.startswith("torch") for _, value in flatten(params)):
        model.meta = {**model.meta, FORM: "pytorch"}
        model.params = _mapped(params, _to_numpy)
    return model


def unpacked(model: FLModel) -> FLModel:
    """Undo :func:`packed`, with arrays that were fetched."""
    odd = model.meta.pop(ODD, None)
    form = model.meta.pop(FORM, None)
    if odd is not None:
        model.params, model.params_type = odd["params"], ParamsType(odd["type"])
    elif model.params is not None:
        model.params = _mapped(model.params, to_torch if form == "pytorch" else lambda value: value)
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


def incoming(data: Any) -> Shareable:
    """Return the data of a task or a reply as a shareable.

    Raises:
        TypeError: it is neither a model nor a shareable.
    """
    if isinstance(data, Shareable):
        return data
    if not isinstance(data, FLModel):
        raise TypeError(f"a {type(data).__name__} arrived where a Shareable or an FLModel was expected")
    return shareable_of(unpacked(data))


def shareable_of(model: FLModel) -> Shareable:
    """Return a model as a shareable; the inverse of :func:`model_of`."""
    meta = dict(model.meta)
    headers, rest = meta.pop(HEADERS, {}), meta.pop(REST, {})
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
    for key, value in ((AppConstants.CURRENT_ROUND, model.current_round), (AppConstants.NUM_ROUNDS, model.total_rounds)):
        if value is not None and shareable.get_header(key) is None:
            shareable.set_header(key, value)
    return shareable


def _round(value: Any) -> int | None:
    is_round = isinstance(value, int | np.integer) and not isinstance(value, bool) and value >= 0
    return int(value) if is_round else None


def _are_arrays(params: Mapping[Any, Any]) -> bool:
    for key, value in params.items():
        if not isinstance(key, str):
            return False
        if isinstance(value, Mapping):
            if not value or not _are_arrays(value):
                return False
        elif isinstance(value, np.ndarray):
            if value.dtype.kind in "OUSMm":
                return False
        elif not hasattr(value, "__array__") or not hasattr(value, "shape") or isinstance(value, np.generic):
            return False
    return bool(params)


def _mapped(params: Mapping[str, Any], convert: Any) -> dict[str, Any]:
    return {
        name: _mapped(value, convert) if isinstance(value, Mapping) else convert(value)
        for name, value in params.items()
    }


def _to_numpy(value: Any) -> Any:
    return to_numpy(value, key="params")


def _plain(value: Any) -> Any:
    """Return mappings as plain dicts, which is what arrives of them."""
    return {name: _plain(each) for name, each in value.items()} if isinstance(value, Mapping) else value


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

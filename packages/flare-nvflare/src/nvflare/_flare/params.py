"""Params of any form on links that carry arrays by name.

Scripts written for NVIDIA FLARE send what its serializer takes: a list of arrays for each layer of a Keras model, or
settings such as ``{"loss": "log_loss"}`` beside arrays. Flare's models are arrays by name. So a list travels as a
mapping with the keys ``~0``, ``~1``, …, and what is no array in the model's ``meta``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from flare_core import FLModel

REST = "nvflare.rest"
"""The key in ``meta`` for what is no array."""

_ITEM = "~"


def packed(model: FLModel) -> FLModel:
    """Return a model whose params are arrays by name, and the rest in ``meta``."""
    if model.params is None:
        return model
    arrays, rest = split(model.params)
    if not rest and arrays == model.params:
        return model
    return replace(model, params=arrays, meta={**model.meta, REST: rest} if rest else model.meta)


def unpack(model: FLModel) -> None:
    """Give a received model its params in their original form."""
    rest = model.meta.pop(REST, None)
    if model.params is not None:
        model.params = joined(model.params, rest or {})


def split(params: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arrays of params, and everything else, both by name."""
    arrays, rest = {}, {}
    for name, value in params.items():
        if isinstance(value, list | tuple) and any(hasattr(each, "shape") for each in value):
            value = {f"{_ITEM}{index}": each for index, each in enumerate(value)}
        if isinstance(value, Mapping):
            inner, inner_rest = split(value)
            if inner:
                arrays[name] = inner
            if inner_rest or not inner:
                rest[name] = inner_rest
        elif hasattr(value, "shape"):
            arrays[name] = value
        else:
            rest[name] = value
    return arrays, rest


def joined(arrays: Mapping[str, Any], rest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the params that :func:`split` took apart."""
    found: dict[str, Any] = {}
    for name in [*arrays, *(each for each in rest if each not in arrays)]:
        value, other = arrays.get(name), rest.get(name)
        if not isinstance(value, Mapping):
            found[name] = other if value is None else value
            continue
        inner = joined(value, other if isinstance(other, Mapping) else {})
        is_list = inner and all(key.startswith(_ITEM) and key[1:].isdigit() for key in inner)
        found[name] = [inner[f"{_ITEM}{index}"] for index in range(len(inner))] if is_list else inner
    return found

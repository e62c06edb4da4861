"""Params of any form on links that carry arrays by name.

Scripts written for NVIDIA FLARE send what its serializer takes: a list of arrays for each layer of a Keras model, or
settings such as ``{"loss": "log_loss"}`` beside arrays. Flare's models are arrays by name. So the arrays of a list
travel as ``name/~0``, ``name/~1``, …, and what is no array in the model's ``meta``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from flare_core import FLModel

REST = "nvflare.rest"
"""The key in ``meta`` for what is no array."""

_ITEM = re.compile(r"(?s)(.*)/~(\d+)")


def packed(model: FLModel) -> FLModel:
    """Return a model whose params are arrays by name, and the rest in ``meta``."""
    if model.params is None:
        return model
    arrays, rest = split(model.params)
    if not rest and arrays.keys() == model.params.keys():
        return model
    return replace(model, params=arrays, meta={**model.meta, REST: rest} if rest else model.meta)


def unpack(model: FLModel) -> None:
    """Give a received model its params in their original form."""
    rest = model.meta.pop(REST, None)
    if model.params is not None:
        model.params = joined(model.params, rest or {})


def split(params: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arrays of params, and everything else, both by name."""
    arrays: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for name, value in params.items():
        if isinstance(value, list | tuple) and any(hasattr(each, "shape") for each in value):
            arrays |= {f"{name}/~{index}": each for index, each in enumerate(value)}
        elif isinstance(name, str) and _is_array(value):
            arrays[name] = value
        else:
            rest[name] = value
    return arrays, rest


def _is_array(value: Any) -> bool:
    """Return True for an array of numbers, and for a mapping of nothing but arrays by name."""
    if isinstance(value, Mapping):
        return bool(value) and all(isinstance(name, str) and _is_array(each) for name, each in value.items())
    return hasattr(value, "shape") and getattr(getattr(value, "dtype", None), "kind", "f") not in "OSUMm"


def joined(arrays: Mapping[str, Any], rest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the params that :func:`split` took apart."""
    found: dict[str, Any] = {}
    for name, value in arrays.items():
        if match := _ITEM.fullmatch(name):
            found.setdefault(match[1], {})[int(match[2])] = value
        else:
            found[name] = value
    lists = {match[1] for name in arrays if (match := _ITEM.fullmatch(name))}
    return {name: _list(value) if name in lists else value for name, value in found.items()} | dict(rest)


def _list(items: Mapping[int, Any]) -> list[Any]:
    return [items[index] for index in sorted(items)]

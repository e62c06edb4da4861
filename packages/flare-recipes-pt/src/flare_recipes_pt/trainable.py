"""A network's trainable parameters, and their values in a received model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from flare_core import FLModel, ModelError, ShapeMismatchError, UnknownKeyError
from flare_fobs.tensors import to_torch


def trainable(net: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """Return the trainable parameters by name, without frozen ones and buffers such as BatchNorm's counters."""
    return {name: parameter for name, parameter in net.named_parameters() if parameter.requires_grad}


def received_values(net: torch.nn.Module, received: FLModel | None) -> dict[str, torch.Tensor]:
    """Return a copy of the received value of each trainable parameter, with its dtype and on its device.

    Raises:
        ModelError: the received model has no params, or does not fit ``net``; names the key.
    """
    if received is None or received.params is None:
        raise ModelError(
            "the received model has no params; call start() between flare.receive() and flare.send(), in the"
            " process of rank 0"
        )
    return like(trainable(net), received.params, what="the received model", copy=True)


def like(
    parameters: Mapping[str, torch.Tensor], values: Mapping[str, Any], *, what: str, copy: bool = False
) -> dict[str, torch.Tensor]:
    """Return the value of each parameter, with the parameter's dtype and on its device.

    Args:
        parameters: the parameters by name.
        values: tensors or NumPy arrays by name; other names are ignored.
        what: the source of ``values``, for messages.
        copy: share no memory with ``values``.
    Raises:
        UnknownKeyError: a parameter has no value.
        ShapeMismatchError: names the key and both shapes.
    """
    found = {}
    for name, parameter in parameters.items():
        if name not in values:
            held = ", ".join(repr(key) for key in list(values)[:3]) or "none"
            raise UnknownKeyError(
                f"{what} has no value for the parameter {name!r} (it holds {held}); use the same network as the recipe,"
                " without a wrapper"
            )
        value = values[name]
        tensor = to_torch(value) if isinstance(value, np.ndarray) else value
        if tensor.shape != parameter.shape:
            raise ShapeMismatchError(
                f"{name!r} has shape {tuple(tensor.shape)} in {what} but {tuple(parameter.shape)} in this network"
            )
        found[name] = tensor.detach().to(device=parameter.device, dtype=parameter.dtype, copy=copy)
    return found

"""What a network trains, and the same in the model that was received."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from flare_core import FLModel, ModelError, ShapeMismatchError, UnknownKeyError
from flare_fobs.tensors import to_torch

__all__ = ["like", "received_values", "trainable"]


def trainable(net: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """The parameters that are trained, by name: neither frozen ones nor buffers, such as a BatchNorm's counters."""
    return {name: parameter for name, parameter in net.named_parameters() if parameter.requires_grad}


def received_values(net: torch.nn.Module, received: FLModel | None) -> dict[str, torch.Tensor]:
    """Return a copy of what was received for each trained parameter, with its dtype and on its device.

    Raises:
        ModelError: nothing was received, or it does not fit ``net``; names the key.
    """
    if received is None or received.params is None:
        raise ModelError(
            "there are no params in the model received; call start() between flare.receive() and flare.send(), in the"
            " process of rank 0"
        )
    return like(trainable(net), received.params, what="the model received", copy=True)


def like(
    parameters: Mapping[str, torch.Tensor], values: Mapping[str, Any], *, what: str, copy: bool = False
) -> dict[str, torch.Tensor]:
    """Return one of ``values`` for each parameter, with its dtype and on its device.

    Args:
        parameters: by name.
        values: tensors or numpy arrays by name; others that are among them are left out.
        what: where ``values`` come from, for messages.
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
                f"{what} holds nothing for the parameter {name!r} (it holds {held}); start from the same network that"
                " the recipe was given, unwrapped"
            )
        value = values[name]
        tensor = to_torch(value) if isinstance(value, np.ndarray) else value
        if tensor.shape != parameter.shape:
            raise ShapeMismatchError(
                f"{name!r} has shape {tuple(tensor.shape)} in {what}, and {tuple(parameter.shape)} in this network"
            )
        found[name] = tensor.detach().to(device=parameter.device, dtype=parameter.dtype, copy=copy)
    return found

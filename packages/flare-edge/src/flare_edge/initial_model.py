"""Models that devices can start from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from flare_core import RecipeError
from flare_core.model import flatten
from flare_core.recipes.initial_model import check_fits, made_model
from flare_tensor_downloader import read_file


def initial_params(model: Any, checkpoint: Path | None) -> dict[str, np.ndarray[Any, Any]]:
    """Return the arrays of a model by name, with the values of a checkpoint if there is one.

    Args:
        model: see :func:`params_of`; or ``{"class_path", "args"}``, or None for the checkpoint alone.
        checkpoint: a ``.safetensors`` or ``.npz`` file.
    Raises:
        RecipeError: there is neither, they do not fit each other, or devices could not train the model; names the part.
    """
    params = None if model is None else params_of(made_model(model))
    if checkpoint is not None:
        saved = _read_checkpoint(checkpoint)
        if params is not None:
            check_fits(saved, params, checkpoint)
            saved = {name: value.astype(params[name].dtype, copy=False) for name, value in saved.items()}
        params = saved
    if not params:
        raise RecipeError("give model or initial_ckpt: devices need a model to start from")
    for name, value in params.items():
        if value.dtype.kind == "f" and value.dtype.itemsize not in (4, 8):
            raise RecipeError(
                f"model[{name!r}] is {value.dtype}; devices train float32 or float64 parameters, so convert it"
            )
    if not any(value.dtype.kind == "f" for value in params.values()):
        raise RecipeError("the model has no floating-point parameters, which devices could train")
    return params


def params_of(model: Any) -> dict[str, np.ndarray[Any, Any]]:
    """Return the parameters of a model as arrays by name.

    Args:
        model: arrays or tensors by name, or an object with ``state_dict()``, such as a ``torch.nn.Module``.
    Raises:
        RecipeError: it is something else; names the part.
    """
    state = model.state_dict() if callable(getattr(model, "state_dict", None)) else model
    if not isinstance(state, Mapping):
        raise RecipeError(f"model is a {type(model).__name__}; give arrays by name, or a torch.nn.Module")
    params: dict[str, np.ndarray[Any, Any]] = {}
    for name, value in state.items():
        if hasattr(value, "detach"):  # a tensor of torch
            value = value.detach().cpu().numpy()
        if not isinstance(name, str) or not isinstance(value, np.ndarray) or value.dtype.kind not in "fiub":
            raise RecipeError(f"model[{name!r}] is a {type(value).__name__}; give arrays of numbers by name")
        params[name] = np.array(value)
    return params


def _read_checkpoint(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    if path.suffix == ".safetensors":
        return {str(name): np.array(value) for name, value in flatten(read_file(path))}
    if path.suffix == ".npz":
        return dict(np.load(path, allow_pickle=False))
    raise RecipeError(f"initial_ckpt {path} has an unknown file type; give a .safetensors or .npz file")

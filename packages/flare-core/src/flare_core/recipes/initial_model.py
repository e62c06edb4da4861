"""What frameworks' packages share in reading an initial model, whatever its form."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flare_core.code import find_script
from flare_core.components import Component
from flare_core.errors import JobError, RecipeError
from flare_core.model import flatten, key_text

__all__ = ["check_fits", "find_checkpoint", "made_model"]


def made_model(model: Any) -> Any:
    """Return the model itself, made if it is only described as ``{"class_path": ..., "args": {...}}``.

    Raises:
        RecipeError: it cannot be made.
    """
    if not isinstance(model, Mapping) or not {"class_path", "path"} & set(model):
        return model
    try:
        return Component.of(model, what="initial_model").build()
    except JobError as error:
        raise RecipeError(f"initial_model: {error}") from error


def find_checkpoint(checkpoint: str | Path, folder: Path) -> Path:
    """Find a checkpoint as :func:`~flare_core.code.find_script` finds a script.

    Raises:
        RecipeError: it is not there; names ``initial_ckpt``.
    """
    try:
        return find_script(checkpoint, folder)
    except RecipeError as error:
        raise RecipeError(str(error).replace("train_script", "initial_ckpt", 1)) from None


def check_fits(saved: Mapping[str, Any], model: Mapping[str, Any], path: Path) -> None:
    """Check that a checkpoint holds what its model does: the same keys, shapes and kinds of numbers.

    How many bits a number has may differ; the caller then gives it those of the model.

    Args:
        saved: arrays or tensors by name, nested mappings allowed.
        model: the same of the model.
        path: of the checkpoint, for messages.
    Raises:
        RecipeError: names the first key that differs.
    """
    found, wanted = dict(flatten(saved)), dict(flatten(model))
    for key in sorted(wanted.keys() ^ found.keys(), key=key_text):
        side = "initial_model" if key in wanted else "the checkpoint"
        raise RecipeError(f"initial_ckpt {path} does not fit initial_model: only {side} has '{key_text(key)}'")
    for key, value in wanted.items():
        there, here = tuple(found[key].shape), tuple(value.shape)
        if there != here:
            raise RecipeError(
                f"initial_ckpt {path} does not fit initial_model: '{key_text(key)}' has shape {there} there and {here}"
                " here"
            )
        kind_there, kind_here = _kind(found[key].dtype), _kind(value.dtype)
        if kind_there != kind_here:
            raise RecipeError(
                f"initial_ckpt {path} does not fit initial_model: '{key_text(key)}' holds {kind_there} numbers there"
                f" ({found[key].dtype}) and {kind_here} ones here ({value.dtype})"
            )


def _kind(dtype: Any) -> str:
    """The kind of numbers of a dtype of numpy or torch, told by its name."""
    name = str(dtype)
    return next((kind for kind in ("bool", "complex", "float") if kind in name), "integer")

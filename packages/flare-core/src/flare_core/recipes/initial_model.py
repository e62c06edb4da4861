"""Helpers of the frameworks' packages for reading an initial model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flare_core.components import Component
from flare_core.errors import JobError, RecipeError
from flare_core.model import flatten, key_text


def made_model(model: Any) -> Any:
    """Return the model, created first if it is a description ``{"class_path": ..., "args": {...}}``.

    Raises:
        RecipeError: it cannot be created.
    """
    if not isinstance(model, Mapping) or not {"class_path", "path"} & set(model):
        return model
    try:
        return Component.of(model, what="initial_model").build()
    except JobError as error:
        raise RecipeError(f"initial_model: {error}") from error


def check_fits(saved: Mapping[str, Any], model: Mapping[str, Any], path: Path) -> None:
    """Check that a checkpoint matches a model: the same keys, shapes and kinds of numbers.

    The precision of the numbers may differ; the caller converts them.

    Args:
        saved: arrays or tensors of the checkpoint by name, nested mappings allowed.
        model: arrays or tensors of the model.
        path: the path of the checkpoint, for messages.
    Raises:
        RecipeError: they differ; names the first key.
    """
    problem = f"initial_ckpt {path} does not fit initial_model"
    found, wanted = dict(flatten(saved)), dict(flatten(model))
    for key in sorted(wanted.keys() ^ found.keys(), key=key_text):
        side = "initial_model" if key in wanted else "the checkpoint"
        raise RecipeError(f"{problem}: only {side} has '{key_text(key)}'")
    for key, value in wanted.items():
        there, here = tuple(found[key].shape), tuple(value.shape)
        if there != here:
            raise RecipeError(f"{problem}: '{key_text(key)}' has shape {there} there and {here} here")
        if _kind(found[key].dtype) != _kind(value.dtype):
            raise RecipeError(f"{problem}: '{key_text(key)}' has dtype {found[key].dtype} there and {value.dtype} here")


def _kind(dtype: Any) -> str:
    """Return the kind of numbers of a numpy or torch dtype, judging by its name."""
    name = str(dtype)
    return next((kind for kind in ("bool", "complex", "float") if kind in name), "integer")

"""Keras with TensorFlow under it: looked for once, before any other module of this package imports Keras."""

from __future__ import annotations

from flare_core import FlareError

__all__ = ["BackendError"]


class BackendError(FlareError, ImportError):
    """Keras cannot be used here, or runs on another framework than TensorFlow."""


try:
    import keras
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "tensorflow":
        raise
    raise BackendError(
        "Keras finds no TensorFlow. Its two wheels exclude each other, so choose one: pip install"
        " 'flare-recipes-tf[cpu]', or 'flare-recipes-tf[tensorflow]' where there is a GPU"
    ) from error

if keras.backend.backend() != "tensorflow":
    raise BackendError(
        f"Keras runs on {keras.backend.backend()} here, flare_recipes_tf on TensorFlow; set the environment variable"
        " KERAS_BACKEND=tensorflow, or 'backend' in ~/.keras/keras.json, before anything imports Keras"
    )

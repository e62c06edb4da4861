"""A check that Keras runs on TensorFlow, made before any other module of this package imports Keras."""

from __future__ import annotations

from flare_core import FlareError


class BackendError(FlareError, ImportError):
    """Keras is unusable, or runs on a framework other than TensorFlow."""


try:
    import keras
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "tensorflow":
        raise
    raise BackendError(
        "Keras cannot find TensorFlow. Its two wheels exclude each other, so install one: pip install"
        " 'flare-recipes-tf[cpu]', or 'flare-recipes-tf[tensorflow]' on a machine with a GPU"
    ) from error

if keras.backend.backend() != "tensorflow":
    raise BackendError(
        f"Keras runs on {keras.backend.backend()}, but flare_recipes_tf needs TensorFlow; set the environment variable"
        " KERAS_BACKEND=tensorflow, or 'backend' in ~/.keras/keras.json, before Keras is imported"
    )

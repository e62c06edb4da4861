"""What is Keras's of every recipe: the forms of an initial model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from flare_core import JobError, ModelError, RecipeError
from flare_core.components import Component
from flare_core.recipe import wrong_model
from flare_core.recipes import ScriptRecipe
from flare_core.recipes.script import _find_checkpoint
from flare_recipes_tf.params import get_params, set_params, trainable_variables
from flare_tensor_downloader import read_file, write_file

__all__ = ["KerasModel"]

_WANTED = "a keras.Model, or {'class_path': ..., 'args': {...}}"
_KINDS = (".keras", ".weights.h5", ".safetensors")


class KerasModel(ScriptRecipe):
    """The part of a recipe that knows Keras.

    ``initial_model`` is a ``keras.Model`` that is built, or ``{"class_path": "package.module.Class", "args": {...}}``,
    which makes one; ``initial_ckpt`` a ``.keras`` file (``safe_mode`` stays on: code in it is refused), a
    ``.weights.h5`` file with the ``initial_model`` that it belongs to, or ``.safetensors``. Scripts get numpy arrays by
    the keys of :mod:`flare_recipes_tf.params`.
    """

    framework = "tensorflow"
    persistor = "flare_recipes_tf.KerasPersistor"

    def _read_model(self, model: Any) -> Any:
        model = _made(model)
        if model is None and str(self.initial_ckpt).endswith(".keras"):
            model = _load_whole(_find_checkpoint(str(self.initial_ckpt), self._folder))
        if model is None:
            return None
        if not isinstance(model, keras.Model):
            raise wrong_model(model, self.public_name(), _WANTED)
        try:
            self._trainable = list(trainable_variables(model))
        except ModelError as error:
            raise RecipeError(f"initial_model: {error}") from None
        return model

    def _write_initial(self, model: Any, checkpoint: Path | None, target: Path) -> None:
        write_file(target, get_params(model) if checkpoint is None else _read_checkpoint(checkpoint, model))


def _made(model: Any) -> Any:
    """The model itself, made if it is only described."""
    if not isinstance(model, Mapping) or not {"class_path", "path"} & set(model):
        return model
    try:
        return Component.of(model, what="initial_model").build()
    except JobError as error:
        raise RecipeError(f"initial_model: {error}") from error


def _load_whole(path: Path) -> Any:
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        raise RecipeError(
            f"initial_ckpt {path} cannot be loaded as a model ({type(error).__name__}: {error}); if its classes are"
            " your own, register them with keras.saving.register_keras_serializable, or give initial_model too"
        ) from error


def _read_checkpoint(path: Path, model: Any) -> dict[str, Any]:
    """The checkpoint's values, checked against the model that they are meant for."""
    if not path.name.endswith(_KINDS):
        raise RecipeError(f"initial_ckpt {path} is of an unknown kind; give a {', '.join(_KINDS)} file")
    if path.suffix == ".safetensors":
        return _checked(read_file(path), model, path)
    if model is None:
        raise RecipeError(f"initial_ckpt {path} holds weights alone; give the initial_model that they belong to, too")
    before = get_params(model)
    try:
        model.load_weights(path)
        return get_params(model)
    except Exception as error:
        raise RecipeError(f"initial_ckpt {path} does not fit initial_model: {type(error).__name__}: {error}") from error
    finally:
        set_params(model, before)  # the model is the user's


def _checked(saved: dict[str, Any], model: Any, path: Path) -> dict[str, Any]:
    if model is None:
        for key in saved:
            if not re.match(r"\d+/", key):
                raise RecipeError(
                    f"initial_ckpt {path} has the key {key!r}, which is none of a Keras model in Flare; write the file"
                    " from flare_recipes_tf.get_params(model)"
                )
        return saved
    wanted = get_params(model)
    for key in sorted(wanted.keys() ^ saved.keys()):
        side = "initial_model" if key in wanted else "the checkpoint"
        raise RecipeError(f"initial_ckpt {path} does not fit initial_model: only {side} has '{key}'")
    for key, value in wanted.items():
        if np.shape(saved[key]) != np.shape(value):
            raise RecipeError(
                f"initial_ckpt {path} does not fit initial_model: '{key}' has shape {np.shape(saved[key])} there and"
                f" {np.shape(value)} here"
            )
    return saved

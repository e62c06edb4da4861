"""What is Keras's of every recipe: the forms of an initial model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from flare_core import JobError, ModelError, RecipeError
from flare_core.components import Component
from flare_core.recipe import wrong_model
from flare_core.recipes import ScriptRecipe
from flare_core.recipes.script import find_checkpoint
from flare_recipes_tf.checkpoint import load_whole, read_checkpoint
from flare_recipes_tf.params import get_params, trainable_variables
from flare_tensor_downloader import write_file

__all__ = ["KerasModel"]

_WANTED = "a keras.Model, or {'class_path': ..., 'args': {...}}"


class KerasModel(ScriptRecipe):
    """``initial_model`` is a ``keras.Model`` that is built, or ``{"class_path": "package.module.Class", "args":
    {...}}``, which makes one; ``initial_ckpt`` a ``.keras`` file (``safe_mode`` stays on: code in it is refused), a
    ``.weights.h5`` file with the ``initial_model`` that it belongs to, or ``.safetensors``. Scripts get numpy arrays by
    the keys of :mod:`flare_recipes_tf.params`."""

    framework = "tensorflow"
    persistor = "flare_recipes_tf.KerasPersistor"

    def _read_model(self, model: Any) -> Any:
        model = _made(model)
        if model is None and str(self.initial_ckpt).endswith(".keras"):
            model = load_whole(find_checkpoint(str(self.initial_ckpt), self._folder))
        if model is None:
            return None
        if not isinstance(model, keras.Model):
            raise wrong_model(model, self.public_name(), _WANTED)
        try:
            self._trainable = list(trainable_variables(model))
        except ModelError as error:
            raise RecipeError(f"initial_model: {error}") from None
        return model

    def _framework_optimizer(self, cls: Any, component: Component) -> Component:
        if isinstance(cls, type) and issubclass(cls, keras.optimizers.Optimizer):
            args = {"class_path": component.class_path, "args": component.args}
            return Component("flare_recipes_tf.KerasOptimizer", args)
        raise RecipeError(
            f"optimizer_args names {component.class_path}, which is no optimizer; use one of keras.optimizers or of"
            " flare_core.optimizers"
        )

    def _write_initial(self, model: Any, checkpoint: Path | None, target: Path) -> None:
        write_file(target, get_params(model) if checkpoint is None else read_checkpoint(checkpoint, model))


def _made(model: Any) -> Any:
    """The model itself, made if it is only described."""
    if not isinstance(model, Mapping) or not {"class_path", "path"} & set(model):
        return model
    try:
        return Component.of(model, what="initial_model").build()
    except JobError as error:
        raise RecipeError(f"initial_model: {error}") from error

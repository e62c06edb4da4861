"""What is Keras's of every recipe: the forms of an initial model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np

from flare_core import ModelError, RecipeError
from flare_core.recipe import wrong_model
from flare_core.recipes import ScriptRecipe
from flare_core.recipes.initial_model import find_checkpoint, made_model
from flare_recipes_tf.checkpoint import load_whole, read_checkpoint
from flare_recipes_tf.params import get_params, trainable_variables
from flare_tensor_downloader import write_file

__all__ = ["KerasModel"]

_WANTED = "a keras.Model, or {'class_path': ..., 'args': {...}}"


class KerasModel(ScriptRecipe):
    """``initial_model`` is a ``keras.Model`` that is built, or ``{"class_path": "package.module.Class", "args":
    {...}}``, which describes one; ``initial_ckpt`` is a ``.keras`` file (``safe_mode`` stays on, so code in it is
    refused), a ``.weights.h5`` file with the ``initial_model`` that it belongs to, or a ``.safetensors`` file. Scripts
    get numpy arrays by the keys of :mod:`flare_recipes_tf.params`."""

    framework = "tensorflow"
    persistor = "flare_recipes_tf.KerasPersistor"
    optimizers = (keras.optimizers.Optimizer, "flare_recipes_tf.KerasOptimizer")

    def _read_model(self, model: Any) -> Any:
        model = made_model(model)
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

    def _write_initial(self, model: Any, checkpoint: Path | None, target: Path) -> None:
        params = get_params(model) if checkpoint is None else read_checkpoint(checkpoint, model)
        if self._trainable is None:  # a file of arrays does not say what is trained: all but moving statistics
            self._trainable = [key for key, value in params.items() if not _is_untrained(key, value)]
        write_file(target, params)


def _is_untrained(key: str, value: np.ndarray[Any, Any]) -> bool:
    return value.dtype.kind in "iub" or key.rpartition("/")[2] in ("moving_mean", "moving_variance")

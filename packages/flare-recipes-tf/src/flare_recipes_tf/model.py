"""Initial models that the Keras recipes accept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np

from flare_core import ModelError, RecipeError
from flare_core.recipe import wrong_model
from flare_core.recipes.initial_model import made_model
from flare_core.recipes.script import ScriptRecipe
from flare_recipes_tf.checkpoint import load_whole, read_checkpoint
from flare_recipes_tf.params import get_params, trainable_variables
from flare_tensor_downloader import write_file

_ACCEPTED = "a keras.Model, or {'class_path': ..., 'args': {...}}"


class KerasModel(ScriptRecipe):
    """``initial_model`` is a built ``keras.Model``, or the description of one as ``{"class_path":
    "package.module.Class", "args": {...}}``; ``initial_ckpt`` is a ``.keras`` file (loaded in safe mode, which refuses
    code), a ``.weights.h5`` file together with its ``initial_model``, or a ``.safetensors`` file. Scripts receive NumPy
    arrays by the keys of :mod:`flare_recipes_tf.params`."""

    framework = "tensorflow"
    persistor = "flare_recipes_tf.persistor.KerasPersistor"
    optimizers = (keras.optimizers.Optimizer, "flare_recipes_tf.optimizer.KerasOptimizer")

    def _read_model(self, model: Any) -> Any:
        model = made_model(model)
        checkpoint = self._checkpoint()
        if model is None and checkpoint is not None and checkpoint.suffix == ".keras":
            model = load_whole(checkpoint)
        if model is None:
            return None
        if not isinstance(model, keras.Model):
            raise wrong_model(model, self.public_name(), _ACCEPTED)
        try:
            self._trainable = list(trainable_variables(model))
        except ModelError as error:
            raise RecipeError(f"initial_model: {error}") from None
        return model

    def _write_initial(self, model: Any, checkpoint: Path | None, target: Path) -> None:
        params = get_params(model) if checkpoint is None else read_checkpoint(checkpoint, model)
        if self._trainable is None:  # a safetensors file does not say which are
            self._trainable = [key for key, value in params.items() if not _is_statistic(key, value)]
        write_file(target, params)


def _is_statistic(key: str, value: np.ndarray[Any, Any]) -> bool:
    return value.dtype.kind in "iub" or key.rpartition("/")[2] in ("moving_mean", "moving_variance")

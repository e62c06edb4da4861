"""Keras models as scripts for NVIDIA FLARE know them: for each layer by name, the list of its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

import flare_recipes_np
from flare_core import RecipeError, Run
from flare_core.code import calling_folder, find_script
from flare_core.recipe import wrong_model
from flare_core.recipes.initial_model import made_model
from flare_recipes_tf.model import KerasModel
from nvflare._flare.layout import Outputs
from nvflare._flare.params import joined, split


@dataclass(kw_only=True, eq=False, repr=False)
class FedAvgRecipe(flare_recipes_np.FedAvgRecipe):
    """Federated averaging of the weights of layers."""

    optimizers = KerasModel.optimizers
    trainable: list[str] | None = None

    def _read_model(self, model: Any) -> Any:
        self._trainable = self.trainable
        return model


@dataclass(kw_only=True, eq=False, repr=False)
class FedOptRecipe(flare_recipes_np.FedOptRecipe):
    """An optimizer at the server, for the weights of layers."""

    optimizers = KerasModel.optimizers
    trainable: list[str] | None = None

    def _read_model(self, model: Any) -> Any:
        self._trainable = self.trainable
        return model


@dataclass(kw_only=True, eq=False, repr=False)
class ScaffoldRecipe(flare_recipes_np.ScaffoldRecipe):
    """SCAFFOLD for the weights of layers."""

    optimizers = KerasModel.optimizers
    trainable: list[str] | None = None

    def _read_model(self, model: Any) -> Any:
        self._trainable = self.trainable
        return model


@dataclass(kw_only=True, eq=False, repr=False)
class CyclicRecipe(flare_recipes_np.CyclicRecipe):
    """Training of the weights of layers at one site after the other."""

    optimizers = KerasModel.optimizers
    trainable: list[str] | None = None

    def _read_model(self, model: Any) -> Any:
        self._trainable = self.trainable
        return model


def source(given: Mapping[str, Any]) -> tuple[dict[str, Any], Outputs]:
    """Return the model to start from, as arguments of one of the recipes above, and the form of its results.

    A model that is not built is built for the shape in its attribute ``_input_shape``. Keras counts the names of layers
    from the beginning before and after, so that a model that is described has the names that a site's model has.

    Args:
        given: the arguments ``model`` or ``initial_model``, and ``initial_ckpt``, a file of weights or a model.
    Raises:
        RecipeError: there is none, or it cannot be built.
    """
    value = given["initial_model"] if given["model"] is None else given["model"]
    keras.utils.clear_session(free_memory=False)
    model, ckpt = made_model(value), given["initial_ckpt"]
    path = None if ckpt is None else find_script(ckpt, calling_folder(), argument="initial_ckpt")
    if model is None and path is not None and path.suffix == ".keras":
        model, path = keras.saving.load_model(path), None
    model = built(model)
    if path is not None:
        model.load_weights(path)
    arrays = weights_of(model)
    keras.utils.clear_session(free_memory=False)
    start = {"model": arrays, "initial_model": None, "initial_ckpt": None, "trainable": trainable(model)}
    return start, _outputs(model)


def built(model: Any) -> Any:
    """Return a model that has weights.

    Args:
        model: one that is not built is built for the shape in its attribute ``_input_shape``.
    Raises:
        RecipeError: there is no model, it is none of Keras', or it cannot be built.
    """
    if model is None:
        raise RecipeError("give model: the sites need a model to start from")
    if not isinstance(model, keras.Model):
        raise wrong_model(
            model, "nvflare.app_opt.tf.recipes", "a keras.Model, or {'class_path': …, 'args': {…}}", what="model"
        )
    if not model.built or not model.weights:
        shape = getattr(model, "_input_shape", None)
        if shape is None:
            raise RecipeError(
                f"model is a {type(model).__name__} that is not built, so it has no weights; begin it with"
                " keras.Input(shape=...), or set its attribute _input_shape"
            )
        model(keras.ops.zeros([size or 1 for size in shape]))
    return model


def weights_of(model: Any) -> dict[str, Any]:
    """Return the weights of a model's layers, as arrays ``layer/~index``."""
    arrays, _ = split({layer.name: layer.get_weights() for layer in model.layers})
    return arrays


def _outputs(model: Any) -> Outputs:
    """Return the results of these recipes: a file of weights, which ``model.load_weights`` reads."""

    def write(run: Run, name: str, app: Path, job: Path) -> None:
        before = model.get_weights()
        for layer, weights in joined(run.load_model(name, raise_on_failure=False), {}).items():
            model.get_layer(name=layer).set_weights(weights)
        model.save_weights(app / f"{'' if name == 'global' else 'best_'}tf_model.weights.h5")
        model.set_weights(before)  # the model is the user's

    return Outputs(write, "SRV_tf_model.weights.h5", "SRV_best_tf_model.weights.h5")


def trainable(model: Any) -> list[str]:
    """Return the names of the arrays that training changes by gradients."""
    names = []
    for layer in model.layers:
        trained = {id(each) for each in layer.trainable_weights}
        names += [f"{layer.name}/~{index}" for index, each in enumerate(layer.weights) if id(each) in trained]
    return names

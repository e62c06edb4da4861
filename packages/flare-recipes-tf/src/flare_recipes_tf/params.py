"""A Keras model's parameters by key, in names that are the same in every process.

Keras numbers the layers that have no name of their own (``dense``, ``dense_3``), counting on as long as a process
lives, so its names differ from one building of a model to the next. A key here is where a variable stands in
``model.weights``, the layer that owns it, and its name, both without such numbers::

    0/dense/kernel
    1/dense/bias
    2/batch_normalization/gamma

The place makes a key unique; the names make one that is out of place show.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

import keras
import numpy as np

from flare_core import ModelError, ShapeMismatchError, flatten
from flare_core.model import check_known

__all__ = ["check_values", "get_params", "set_params", "trainable_variables", "value_of", "variables"]

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


def get_params(model: keras.Model) -> dict[str, Array]:
    """Return copies of a model's weights by key, in the order of ``model.get_weights()``.

    What is not trained is among them (the moving statistics of BatchNormalization); states of random generators,
    metrics and optimizers are not. Dtypes are the variables' own.

    Raises:
        ModelError: the model has no weights, as it is not built.
    """
    return {key: value_of(variable) for key, variable in variables(model).items()}


def set_params(model: keras.Model, params: Mapping[str, Any]) -> None:
    """Give a model the weights that :func:`get_params` returned, here or elsewhere; none of them if one is wrong.

    Args:
        model: built, and of the same structure as the one that the params come from.
        params: key to array; each is converted to its variable's dtype. The model keeps no reference to them.
    Raises:
        ModelError: the model is not built, or a key is missing; names it.
        UnknownKeyError: a key that the model does not have.
        ShapeMismatchError: names the key and both shapes.
    """
    found = variables(model)
    check_known(dict(flatten(params)), dict(flatten(found)), whose="params")
    check_values(params, found, source="params")
    normalizations = [(layer, _values(layer)) for layer in model._flatten_layers() if _computes(layer)]
    for key, variable in found.items():
        variable.assign(params[key])
    for layer, before in normalizations:
        if not all(np.array_equal(*pair) for pair in zip(before, _values(layer), strict=True)):
            layer.finalize_state()
            # The compiled functions hold what was computed before.
            model.train_function = model.test_function = model.predict_function = None


def _computes(layer: Any) -> bool:
    """Return whether a layer works with values derived from its weights, as Normalization does."""
    return bool(layer.weights) and callable(getattr(layer, "finalize_state", None))


def _values(layer: Any) -> list[Array]:
    """Return copies of the values of a layer's weights."""
    return [value_of(variable) for variable in layer.weights]


def variables(model: keras.Model) -> dict[str, keras.Variable]:
    """Return a model's variables by key.

    Raises:
        ModelError: the model has no weights, as it is not built.
    """
    if not model.built or not model.weights:  # model.build() marks a model as built even if no layer of it is
        raise ModelError(
            f"{model.name} ({type(model).__name__}) has no weights, as it is not built: begin it with"
            " keras.Input(shape=...), or call it once on some data; model.build(shape) alone does not build the layers"
            " of a class that has no build method of its own"
        )
    return {f"{index}/{_name_of(variable)}": variable for index, variable in enumerate(model.weights)}


def trainable_variables(model: keras.Model) -> dict[str, keras.Variable]:
    """Return the variables that are trained by key, in the order of ``model.trainable_variables``.

    Raises:
        ModelError: the model has no weights, as it is not built.
    """
    key_of = {id(variable): key for key, variable in variables(model).items()}
    return {key_of[id(variable)]: variable for variable in model.trainable_variables}


def check_values(values: Mapping[str, Any], wanted: Mapping[str, keras.Variable], *, source: str) -> None:
    """Check that there is a value for each variable; there may be others.

    Args:
        values: arrays, by key.
        wanted: the model's variables, by key.
        source: where the values come from, for the errors.
    Raises:
        ModelError: a key is missing; names it and ``source``.
        ShapeMismatchError: names the key and both shapes.
    """
    for key, variable in wanted.items():
        if key not in values:
            raise ModelError(f"{source} has no {key!r}, which the model here has: it comes from another model")
        if np.shape(values[key]) != tuple(variable.shape):
            raise ShapeMismatchError(
                f"{key!r} has shape {np.shape(values[key])} in {source} and {tuple(variable.shape)} in the model here"
            )


def value_of(variable: keras.Variable) -> Array:
    """Return a copy of a variable's value."""
    return np.asarray(variable.value.numpy())


def _name_of(variable: keras.Variable) -> str:
    """The owner's name and the variable's own: what comes before in the path depends on who built the layer."""
    return "/".join(re.sub(r"(_\d+)+$", "", name) for name in variable.path.split("/")[-2:])

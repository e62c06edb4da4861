"""A Keras model's parameters by keys that are the same in every process.

Keras numbers unnamed layers (``dense``, ``dense_3``) with counters that run as long as the process, so its names change
each time a model is built. A key here consists of the variable's index in ``model.weights``, the name of its layer and
its own name, both without such numbers::

    0/dense/kernel
    1/dense/bias
    2/batch_normalization/gamma

The index makes a key unique; the names reveal a key of another model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

import keras
import numpy as np

from flare_core import ModelError, ShapeMismatchError
from flare_core.model import check_known, flatten

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


def get_params(model: keras.Model) -> dict[str, Array]:
    """Return copies of a model's weights by key, in the order of ``model.get_weights()``.

    Untrained weights such as the moving statistics of BatchNormalization are included; states of random generators,
    metrics and optimizers are not. Dtypes are those of the variables.

    Raises:
        ModelError: the model is not built.
    """
    return {key: value_of(variable) for key, variable in variables(model).items()}


def set_params(model: keras.Model, params: Mapping[str, Any]) -> None:
    """Set a model's weights to params from :func:`get_params`; after an error, the model is unchanged.

    Args:
        model: a built model of the same structure as the source of the params.
        params: key to array; each is converted to its variable's dtype and copied.
    Raises:
        ModelError: the model is not built, or a key is missing; names the key.
        UnknownKeyError: the model does not have a key; names it.
        ShapeMismatchError: the shapes of a key differ; names the key and both shapes.
    """
    found = variables(model)
    check_known(dict(flatten(params)), dict(flatten(found)), whose="params")
    check_values(params, found, source="params")
    normalizations = [(layer, _values(layer)) for layer in model._flatten_layers() if _has_derived_values(layer)]
    for key, variable in found.items():
        variable.assign(params[key])
    for layer, before in normalizations:
        if not all(np.array_equal(*pair) for pair in zip(before, _values(layer), strict=True)):
            layer.finalize_state()
            # The compiled functions hold the old derived values.
            model.train_function = model.test_function = model.predict_function = None


def _has_derived_values(layer: Any) -> bool:
    """Return True if a layer uses values derived from its weights, as Normalization does."""
    return bool(layer.weights) and callable(getattr(layer, "finalize_state", None))


def _values(layer: Any) -> list[Array]:
    """Return copies of the values of a layer's weights."""
    return [value_of(variable) for variable in layer.weights]


def variables(model: keras.Model) -> dict[str, keras.Variable]:
    """Return a model's variables by key.

    Raises:
        ModelError: the model is not built.
    """
    if not model.built or not model.weights:  # model.build() marks a model as built even if none of its layers is
        raise ModelError(
            f"{model.name} ({type(model).__name__}) is not built and has no weights: begin it with"
            " keras.Input(shape=...), or call it once on some data; model.build(shape) does not build the layers of a"
            " class without its own build method"
        )
    return {f"{index}/{_name_of(variable)}": variable for index, variable in enumerate(model.weights)}


def trainable_variables(model: keras.Model) -> dict[str, keras.Variable]:
    """Return a model's trainable variables by key, in the order of ``model.trainable_variables``.

    Raises:
        ModelError: the model is not built.
    """
    key_of = {id(variable): key for key, variable in variables(model).items()}
    return {key_of[id(variable)]: variable for variable in model.trainable_variables}


def check_values(values: Mapping[str, Any], wanted: Mapping[str, keras.Variable], *, source: str) -> None:
    """Check that each variable has a value of its shape; other values are ignored.

    Args:
        values: arrays, by key.
        wanted: the model's variables, by key.
        source: the origin of the values, for error messages.
    Raises:
        ModelError: a key is missing; names the key and ``source``.
        ShapeMismatchError: the shapes of a key differ; names the key and both shapes.
    """
    for key, variable in wanted.items():
        if key not in values:
            raise ModelError(f"{source} has no {key!r}, which this site's model has; use params of the same model")
        if np.shape(values[key]) != tuple(variable.shape):
            raise ShapeMismatchError(
                f"{key!r} has shape {np.shape(values[key])} in {source} but {tuple(variable.shape)} in this model"
            )


def value_of(variable: keras.Variable) -> Array:
    """Return a copy of a variable's value."""
    return np.asarray(variable.value.numpy())


def _name_of(variable: keras.Variable) -> str:
    """Return the layer's and the variable's names; the rest of the path depends on how the layer was built."""
    return "/".join(re.sub(r"(_\d+)+$", "", name) for name in variable.path.split("/")[-2:])

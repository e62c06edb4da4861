"""The form in which a script gets and gives its arrays, and the difference that DIFF sends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from flare_core import FLModel, ModelError, ParamsType, RecipeError, ShapeMismatchError, TaskName, flatten, unflatten
from flare_core.model import OPTIMIZER_PARAMS, Key, Params, check_known, key_text
from flare_fobs.tensors import to_numpy, to_torch

__all__ = ["Exchange"]

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

# TensorFlow copies what it is given, so numpy arrays serve its scripts as they are.
_FORMS: dict[str, Callable[[Array], Any] | None] = {"numpy": None, "pytorch": to_torch, "tensorflow": None}


class Exchange:
    """Turns numpy arrays, which is what travels, into what a script works with, and back.

    Args:
        form: ``numpy``, ``pytorch`` or ``tensorflow``, which is numpy.
        transfer: DIFF turns a whole model that the script sends into its difference to the one received.
    Raises:
        RecipeError: ``form`` is another.
    """

    def __init__(self, form: str, transfer: ParamsType) -> None:
        if form not in _FORMS:
            raise RecipeError(f"exchange_format is {form!r}; known are {', '.join(_FORMS)}")
        self._convert = _FORMS[form]
        self._transfer = transfer
        self._received: dict[Key, Array] = {}
        self._is_whole = False  # whether the task taken last asks for a whole model

    def to_script(self, model: FLModel, task: str = TaskName.TRAIN) -> FLModel:
        """Return ``model`` with arrays of the script's own, in its form.

        Args:
            model: as it was received.
            task: the task that it belongs to; the answer to ``submit_model`` is a whole model.
        """
        self._received, self._is_whole = {}, task == TaskName.SUBMIT_MODEL
        if model.params is None:
            return model
        if OPTIMIZER_PARAMS in model.params:
            params = dict(model.params)
            optimizer_params = params.pop(OPTIMIZER_PARAMS)
            model.params = params
            model.optimizer_params = _mapped(optimizer_params, self._convert or np.asarray)
        if self._transfer is ParamsType.DIFF:  # the script may change what it received, so the base is a copy
            self._received = {key: np.array(value, copy=True) for key, value in flatten(model.params)}
        if self._convert is not None:
            model.params = _mapped(model.params, self._convert)
        return model

    def from_script(self, model: FLModel, site: str) -> FLModel:
        """Return ``model`` with numpy arrays that share the script's memory.

        Raises:
            EncodeError: a value is no array that can travel; names its key.
            ModelError: a difference is wanted, and no model was received.
            UnknownKeyError, ShapeMismatchError: a difference is wanted, and a key or a shape is not that of the model
            received.
        """
        if model.params is None:
            return model
        arrays = {key: to_numpy(value, key=key_text(key)) for key, value in flatten(model.params)}
        along = (
            {
                OPTIMIZER_PARAMS: unflatten(
                    {
                        key: to_numpy(value, key=f"optimizer_params.{key_text(key)}")
                        for key, value in flatten(model.optimizer_params)
                    }
                )
            }
            if model.optimizer_params
            else {}
        )
        if self._transfer is not ParamsType.DIFF or model.params_type is ParamsType.DIFF or self._is_whole:
            return replace(model, params=unflatten(arrays) | along, optimizer_params=None)
        if not self._received:
            raise ModelError(f"{site}: a difference is to be sent, but no model was received to take it from")
        check_known(arrays, self._received, whose=site)
        differences = {key: _difference(key, value, self._received[key], site) for key, value in arrays.items()}
        self._received = {}
        return replace(model, params=unflatten(differences) | along, optimizer_params=None, params_type=ParamsType.DIFF)


def _mapped(params: Params, convert: Callable[[Array], Any]) -> dict[str, Any]:
    return {
        name: _mapped(value, convert) if isinstance(value, dict) else convert(value) for name, value in params.items()
    }


def _difference(key: Key, value: Array, received: Array, site: str) -> Array:
    if value.shape != received.shape:
        raise ShapeMismatchError(
            f"{site}: '{key_text(key)}' has shape {value.shape}, the model received has {received.shape}"
        )
    if value.dtype.kind in "iub":  # the difference of counters can be negative, and that of flags is one of -1, 0, 1
        return value.astype(np.int64) - received.astype(np.int64)
    return np.asarray(value - received)

"""The form of the arrays that a script receives and sends, the difference that DIFF sends, and checks of replies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from flare_core import (
    DtypeMismatchError,
    FLModel,
    ModelError,
    ParamsType,
    RecipeError,
    ShapeMismatchError,
    Task,
    TaskName,
    flatten,
    unflatten,
)
from flare_core.model import OPTIMIZER_PARAMS, Key, MetaKey, Params, check_known, key_text
from flare_core.tensor_blocks import kind_of
from flare_fobs.tensors import to_numpy, to_torch

__all__ = ["Exchange"]

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

# TensorFlow copies what it is given, so numpy arrays serve its scripts as they are.
_FORMS: dict[str, Callable[[Array], Any] | None] = {"numpy": None, "pytorch": to_torch, "tensorflow": None}

SAMPLE = 1024
"""How many values of an array are remembered, evenly spaced, to see whether a script has changed any."""

LEAST_VALUES = 8
"""Of fewer values, a model and a difference can look alike by chance."""


class Exchange:
    """Turns numpy arrays, which is what travels, into what a script works with, and back.

    Args:
        form: ``numpy``, ``pytorch`` or ``tensorflow``, which is numpy.
        transfer: DIFF turns a whole model that the script sends into its difference to the one received.
        warn: shows a warning to the people who watch the run.
    Raises:
        RecipeError: ``form`` is another.
    """

    def __init__(self, form: str, transfer: ParamsType, warn: Callable[[str], None]) -> None:
        if form not in _FORMS:
            raise RecipeError(f"exchange_format is {form!r}; known are {', '.join(_FORMS)}")
        self._convert = _FORMS[form]
        self._transfer = transfer
        self._warn = warn
        self._received: dict[Key, _Received] = {}
        self._is_whole = False  # whether the task taken last asks for a whole model
        self._round: int | None = None
        self._is_training = False
        self._is_first = True  # reply with data; what is wrong with a script shows in it, later it may have converged

    def to_script(self, task: Task) -> FLModel:
        """Return the task's model with arrays of the script's own, in its form."""
        model = task.model
        self._round = model.current_round
        self._is_training = task.name not in (TaskName.VALIDATE, TaskName.SUBMIT_MODEL)
        self._received, self._is_whole = {}, task.name == TaskName.SUBMIT_MODEL
        if model.params is None:
            return model
        if OPTIMIZER_PARAMS in model.params:
            params = dict(model.params)
            optimizer_params = params.pop(OPTIMIZER_PARAMS)
            model.params = params
            model.optimizer_params = _mapped(optimizer_params, self._convert or np.asarray)
        # The script may change what it received, so what is kept of it is a copy.
        keep = np.array if self._transfer is ParamsType.DIFF else _sample if self._is_looked_at else _nothing
        self._received = {key: _Received(value.dtype, value.shape, keep(value)) for key, value in flatten(model.params)}
        if self._convert is not None:
            model.params = _mapped(model.params, self._convert)
        return model

    def from_script(self, model: FLModel, site: str) -> FLModel:
        """Return ``model`` with numpy arrays that share the script's memory.

        Raises:
            EncodeError: a value is no array that can travel; names its key.
            DtypeMismatchError: a value of a whole model has another kind of numbers than the model received, and
            cannot be converted without loss.
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
        received, is_diff = self._received, model.params_type is ParamsType.DIFF
        has_learned = model.meta.get(MetaKey.NUM_STEPS_CURRENT_ROUND) != 0  # else it has no data, and says so
        if not is_diff:
            arrays = {key: _of_kind(key, value, received.get(key), site) for key, value in arrays.items()}
        if self._is_looked_at:
            self._look_at_type(arrays, received, is_diff=is_diff)
        if self._transfer is ParamsType.DIFF and not is_diff and not self._is_whole:
            if not received:
                raise ModelError(f"{site}: a difference is to be sent, but no model was received to take it from")
            check_known(arrays, received, whose=site)
            arrays = {key: _difference(key, value, received[key], site) for key, value in arrays.items()}
            is_diff = True
        if self._is_looked_at and has_learned:
            self._look_at_change(arrays, received, is_diff=is_diff)
            self._is_first = False
        self._received = {}
        kind = ParamsType.DIFF if is_diff else ParamsType.FULL
        return replace(model, params=unflatten(arrays) | along, optimizer_params=None, params_type=kind)

    @property
    def _is_looked_at(self) -> bool:
        """Whether the reply to the task taken last is checked for common mistakes."""
        return self._is_first and self._is_training

    def _look_at_type(self, arrays: dict[Key, Array], received: dict[Key, _Received], *, is_diff: bool) -> None:
        """Warn if a whole model is near zero, as a difference is, or a difference is near the model received."""
        before, apart, count = 0.0, 0.0, 0
        for key, value in arrays.items():
            there = received.get(key)
            if there is None or value.shape != there.shape or kind_of(value.dtype) != "float":
                continue
            old, new = (_sample(each).astype(np.float64) for each in (there.values, value))
            count += old.size
            before += float(old @ old)
            apart += float((new - old) @ (new - old)) if is_diff else float(new @ new)
        if count < LEAST_VALUES or not apart < before / 100:  # below a tenth of the norm of the model received
            return
        if is_diff:
            text = (
                "sent as a difference (params_type DIFF) what is nearly the model received; send a whole model as FULL"
            )
        else:
            text = (
                "sent a whole model that is nearly zero beside the one received; send a difference as params_type DIFF"
            )
        self._warn(text)

    def _look_at_change(self, arrays: dict[Key, Array], received: dict[Key, _Received], *, is_diff: bool) -> None:
        """Warn of a model that comes back in part or unchanged, unless its keys are others, as in another protocol."""
        if any(key not in received for key in arrays):
            return
        if missing := [key for key in received if key not in arrays]:
            self._warn(
                f"sent {len(arrays)} of the model's {len(received)} keys; the server keeps its own values of the"
                f" others, such as '{key_text(missing[0])}'"
            )
        if is_diff:
            is_same = not any(value.any() for value in arrays.values())
        else:
            is_same = all(received[key].equals(value) for key, value in arrays.items())
        if is_same and any(value.size for value in arrays.values()):
            when = "" if self._round is None else f" in round {self._round}"
            self._warn(
                f"returned the model unchanged{when}; unless nothing was to be learned, its script sends what it"
                " received and not what it has trained"
            )


@dataclass(frozen=True, slots=True)
class _Received:
    """What is kept of an array that the script received: for DIFF all values, else a sample, or none."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    values: Array

    def equals(self, value: Array) -> bool:
        """Whether an array seems to be the one received."""
        return value.shape == self.shape and np.array_equal(_sample(value), self.values)


def _nothing(array: Array) -> Array:
    return np.empty(0, array.dtype)


def _sample(array: Array) -> Array:
    """Return a copy of some of an array's values, as a flat array."""
    if array.size <= SAMPLE:
        return array.flatten()
    return np.array(array.flat[:: -(-array.size // SAMPLE)])


def _mapped(params: Params, convert: Callable[[Array], Any]) -> dict[str, Any]:
    return {
        name: _mapped(value, convert) if isinstance(value, dict) else convert(value) for name, value in params.items()
    }


_CONVERTED = {
    ("integer", "float"),
    ("float", "integer"),
    ("integer", "integer"),
    ("integer", "boolean"),
    ("float", "boolean"),
}
"""From which kind of numbers to which values are converted: a script may send all tensors as float32, for example."""


def _of_kind(key: Key, value: Array, received: _Received | None, site: str) -> Array:
    """Return a value in the kind of numbers that the model has there, if nothing is lost by that.

    Otherwise the mean of integers would be rounded, or that of a counter would be no integer.

    Raises:
        DtypeMismatchError: something would be lost.
    """
    if received is None or value.dtype == received.dtype:
        return value
    kinds = kind_of(value.dtype), kind_of(received.dtype)
    if kinds in _CONVERTED:
        with np.errstate(invalid="ignore", over="ignore"):
            converted = value.astype(received.dtype)
        if np.array_equal(converted, value):
            return converted
    if kinds[0] == kinds[1]:
        return value
    raise DtypeMismatchError(
        f"{site}: '{key_text(key)}' is {value.dtype}, the model received has {received.dtype}; send that, or start from"
        f" an initial model with {value.dtype}"
    )


def _difference(key: Key, value: Array, received: _Received, site: str) -> Array:
    if value.shape != received.shape:
        raise ShapeMismatchError(
            f"{site}: '{key_text(key)}' has shape {value.shape}, the model received has {received.shape}"
        )
    if value.dtype.kind in "iub":  # the difference of counters can be negative, and that of flags is one of -1, 0, 1
        return value.astype(np.int64) - received.values.astype(np.int64)
    return np.asarray(value - received.values)

"""Conversion of models between the wire and a script: array types, differences (DIFF), and checks of replies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from flare_core import DtypeMismatchError, FLModel, ModelError, ParamsType, RecipeError, ShapeMismatchError, Task
from flare_core.model import OPTIMIZER_PARAMS, Key, MetaKey, Params, check_known, flatten, key_text, unflatten
from flare_core.task import TaskName
from flare_core.tensor_blocks import kind_of
from flare_fobs.tensors import to_numpy, to_torch

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

# TensorFlow copies its inputs, so its scripts get numpy arrays.
_FORMS: dict[str, Callable[[Array], Any] | None] = {"numpy": None, "pytorch": to_torch, "tensorflow": None}

SAMPLE = 1024
"""The number of values of an array, evenly spaced, that are kept to check whether a script has changed it."""

LEAST_VALUES = 8
"""A model of fewer values can resemble a difference by chance, so it is not checked."""


class Exchange:
    """Converts numpy arrays, as received, to the arrays that a script works with, and back.

    Args:
        form: ``numpy``, ``pytorch`` or ``tensorflow`` (whose scripts get numpy arrays).
        transfer: DIFF turns a whole model from the script into its difference to the model received.
        warn: shows a warning where the run is watched.
    Raises:
        RecipeError: ``form`` is unknown.
    """

    def __init__(self, form: str, transfer: ParamsType, warn: Callable[[str], None]) -> None:
        if form not in _FORMS:
            raise RecipeError(f"exchange_format is {form!r}; known are {', '.join(_FORMS)}")
        self._convert = _FORMS[form]
        self._transfer = transfer
        self._warn = warn
        self._received: dict[Key, _Received] = {}
        self._wants_whole = False  # the current task asks for a whole model
        self._round: int | None = None
        self._is_training = False
        # Only the first reply with data is checked: mistakes show in it, and later a model may have converged.
        self._is_first = True

    def to_script(self, task: Task) -> FLModel:
        """Return the task's model with arrays in the script's form, which the script owns and may change."""
        model = task.model
        self._round = model.current_round
        self._is_training = task.name not in (TaskName.VALIDATE, TaskName.SUBMIT_MODEL)
        self._received, self._wants_whole = {}, task.name == TaskName.SUBMIT_MODEL
        if model.params is None:
            return model
        if OPTIMIZER_PARAMS in model.params:
            params = dict(model.params)
            optimizer_params = params.pop(OPTIMIZER_PARAMS)
            model.params = params
            model.optimizer_params = _mapped(optimizer_params, self._convert or np.asarray)
        # Copies, since the script may change the arrays in place: DIFF needs all values, the checks a sample.
        keep = np.array if self._transfer is ParamsType.DIFF else _sample if self._is_checked else lambda _: np.empty(0)
        self._received = {key: _Received(value.dtype, value.shape, keep(value)) for key, value in flatten(model.params)}
        if self._convert is not None:
            model.params = _mapped(model.params, self._convert)
        return model

    def from_script(self, model: FLModel, site: str) -> FLModel:
        """Return ``model`` with numpy arrays that share the script's memory.

        Raises:
            EncodeError: a value is not an array that can be sent; names its key.
            DtypeMismatchError: a value of a whole model has another kind of dtype than the model received, and
                cannot be converted without loss.
            ModelError: a difference is required, but no model was received.
            UnknownKeyError, ShapeMismatchError: a difference is required, and a key or a shape differs from the model
                received.
        """
        if model.params is None:
            return model
        arrays = _to_arrays(model.params)
        extra = {}
        if model.optimizer_params:
            extra[OPTIMIZER_PARAMS] = unflatten(_to_arrays(model.optimizer_params, "optimizer_params."))
        received, is_diff = self._received, model.params_type is ParamsType.DIFF
        has_trained = model.meta.get(MetaKey.NUM_STEPS_CURRENT_ROUND) != 0  # 0 is how a site without data replies
        if not is_diff:
            arrays = {key: _as_kind(key, value, received.get(key), site) for key, value in arrays.items()}
        if self._is_checked:
            self._check_type(arrays, received, is_diff=is_diff)
        if self._transfer is ParamsType.DIFF and not is_diff and not self._wants_whole:
            if not received:
                raise ModelError(f"{site}: a difference must be sent, but no model was received to compare with")
            check_known(arrays, received, whose=site)
            arrays = {key: _difference(key, value, received[key], site) for key, value in arrays.items()}
            is_diff = True
        if self._is_checked and has_trained:
            self._check_change(arrays, received, is_diff=is_diff)
            self._is_first = False
        self._received = {}
        kind = ParamsType.DIFF if is_diff else ParamsType.FULL
        return replace(model, params=unflatten(arrays) | extra, optimizer_params=None, params_type=kind)

    @property
    def _is_checked(self) -> bool:
        """True if the reply to the current task is checked for common mistakes."""
        return self._is_first and self._is_training

    def _check_type(self, arrays: dict[Key, Array], received: dict[Key, _Received], *, is_diff: bool) -> None:
        """Warn of a whole model that is near zero, as differences are, and of a difference near the model received."""
        before, apart, count = 0.0, 0.0, 0  # squared norms of the model received and of what is suspiciously small
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
        self._warn(
            "sent as a difference (params_type DIFF) what is nearly the model received; send a whole model as FULL"
            if is_diff
            else "sent a whole model that is nearly zero beside the one received; send a difference as params_type DIFF"
        )

    def _check_change(self, arrays: dict[Key, Array], received: dict[Key, _Received], *, is_diff: bool) -> None:
        """Warn of a model that comes back in part or unchanged, unless it has other keys, as in another protocol."""
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
                f"returned the model unchanged{when}; unless there was nothing to learn, its script sends the model"
                " that it received instead of the one that it trained"
            )


@dataclass(frozen=True, slots=True)
class _Received:
    """A record of an array that the script received, with all of its values (for DIFF), a sample, or none."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    values: Array

    def equals(self, value: Array) -> bool:
        """Return True if an array seems to be the one received, as far as the sample tells."""
        return value.shape == self.shape and np.array_equal(_sample(value), self.values)


def _sample(array: Array) -> Array:
    """Return a flat copy of evenly spaced values of an array."""
    if array.size <= SAMPLE:
        return array.flatten()
    return np.array(array.flat[:: -(-array.size // SAMPLE)])


def _to_arrays(params: Params, prefix: str = "") -> dict[Key, Array]:
    """Return params as numpy arrays by key; errors name the key with a prefix."""
    return {key: to_numpy(value, key=f"{prefix}{key_text(key)}") for key, value in flatten(params)}


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
"""Conversions from one kind of dtype to another: a script may send all tensors as float32, for example."""


def _as_kind(key: Key, value: Array, received: _Received | None, site: str) -> Array:
    """Convert a value to the kind of dtype that the model received has, if that loses nothing.

    Without this, a mean of integers would be rounded, and the mean of a counter would not be an integer.

    Raises:
        DtypeMismatchError: the conversion would lose something.
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
    if value.dtype.kind in "iub":  # differences of counters can be negative, and those of flags are -1, 0 or 1
        return value.astype(np.int64) - received.values.astype(np.int64)
    return np.asarray(value - received.values)

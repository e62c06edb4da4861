"""FLModel: what travels between the server and the sites, and how an update is applied to a model."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

import numpy as np

from flare_core.errors import DtypeMismatchError, ModelError, NonFiniteError, ShapeMismatchError, UnknownKeyError

__all__ = ["FLModel", "Key", "MetaKey", "Params", "ParamsType", "flatten", "key_text", "unflatten", "updated"]

Params: TypeAlias = Mapping[str, Any]
"""Name to array; an array is numpy, torch or tensorflow, and a value may itself be such a mapping."""

Key: TypeAlias = str | tuple[str, ...]
"""A name at the top level, or the path to a value in nested mappings."""


OPTIMIZER_PARAMS = "optimizer_params"
"""Where :attr:`FLModel.optimizer_params` lie in the params on their way, as one more mapping among the arrays: so they
travel, and are compressed and summed, as the params are."""


class ParamsType(StrEnum):
    """Whether ``params`` is a whole model or the difference to the model that was received."""

    FULL = "FULL"
    DIFF = "DIFF"


class MetaKey(StrEnum):
    """Keys of :attr:`FLModel.meta` that Flare itself reads or writes."""

    NUM_STEPS_CURRENT_ROUND = "NUM_STEPS_CURRENT_ROUND"
    SITE_NAME = "site_name"
    JOB_ID = "job_id"
    ALSO_AT = "also_at"
    NOT_USED_SINCE = "not_used_since"
    """In the model that a site is given, if the server did not use the site's last result: the round of the first
    unused one. State that a script keeps from round to round has to go back to what it was before that round."""


@dataclass(slots=True)
class FLModel:
    """A model, or a part of one, with its metrics and the round it belongs to.

    Args:
        params_type: FULL or DIFF; FULL if left out and ``params`` is given.
        params: arrays by name, nested mappings allowed; may be lazy (an array is fetched when it is read).
        optimizer_params: arrays by name that an algorithm sends along with the params, such as SCAFFOLD's control
            variates.
        metrics: numbers by name, measured on the model *as received*.
        start_round: the first round of the run, counted from 0.
        current_round: the round that this model belongs to, counted from 0.
        total_rounds: how many rounds the run has.
        meta: anything else that can be serialized; ``NUM_STEPS_CURRENT_ROUND`` weighs the contribution.

    Raises:
        ModelError: a type without params, params or metrics that are no mapping, a negative round.
    """

    params_type: ParamsType | None = None
    params: Params | None = None
    optimizer_params: Params | None = None
    metrics: dict[str, Any] | None = None
    start_round: int | None = 0
    current_round: int | None = None
    total_rounds: int | None = None
    meta: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.params_type is not None:
            if type(self.params_type) is not ParamsType:  # asking the class for it costs as much as all the rest
                try:
                    self.params_type = ParamsType(self.params_type)
                except ValueError:
                    raise ModelError(
                        f"params_type is {self.params_type!r}; use ParamsType.FULL or ParamsType.DIFF"
                    ) from None
            if self.params is None:
                raise ModelError(f"params_type is {self.params_type} but there are no params; give params, or no type")
        elif self.params is not None:
            self.params_type = ParamsType.FULL
        if self.meta is None:
            self.meta = {}
        for name in ("params", "optimizer_params", "metrics", "meta"):
            value = getattr(self, name)
            if value is not None and type(value) is not dict and not isinstance(value, Mapping):
                raise ModelError(f"FLModel.{name} is a {type(value).__name__}; give a mapping of name to value")
        for name in ("start_round", "current_round", "total_rounds"):
            value = getattr(self, name)
            if value is None or (type(value) is int and value >= 0):
                continue
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
                raise ModelError(f"FLModel.{name} is {value!r}; a round is an integer from 0")

    def summary(self) -> dict[str, Any]:
        """Describe the model without its values: number of keys, types, rounds, names of metrics and meta."""
        return {
            "params": None if self.params is None else len(self.params),
            "optimizer_params": None if self.optimizer_params is None else len(self.optimizer_params),
            "metrics": None if self.metrics is None else sorted(self.metrics),
            "meta": sorted(self.meta),
            "params_type": self.params_type,
            "start_round": self.start_round,
            "current_round": self.current_round,
            "total_rounds": self.total_rounds,
        }

    def __repr__(self) -> str:
        return f"FLModel({', '.join(f'{name}={value!r}' for name, value in self.summary().items())})"


def flatten(params: Params) -> Iterator[tuple[Key, Any]]:
    """Yield ``(key, array)`` for every leaf, in order: a plain name, or a tuple of names where mappings are nested."""
    for name, value in params.items():
        if type(value) is np.ndarray:  # the usual case, told faster
            yield name, value
        elif isinstance(value, Mapping):
            for key, leaf in flatten(value):
                yield (name, *((key,) if isinstance(key, str) else key)), leaf
        else:
            yield name, value


def unflatten(items: Mapping[Key, Any]) -> dict[str, Any]:
    """Rebuild what :func:`flatten` took apart."""
    params: dict[str, Any] = {}
    for key, value in items.items():
        if isinstance(key, str):
            params[key] = value
            continue
        inner = params
        for name in key[:-1]:
            inner = inner.setdefault(name, {})
        inner[key[-1]] = value
    return params


def key_text(key: Key) -> str:
    """Write a key as people do: ``encoder.weight``.

    Raises:
        ModelError: it is neither a string nor made of strings.
    """
    if isinstance(key, str):
        return key
    try:
        return ".".join(key)
    except TypeError:
        raise ModelError(f"{key!r} cannot be the name of an array; names are strings, such as str(...) of it") from None


def updated(model: FLModel, update: FLModel, *, reuse: bool = False, whose: str = "the update") -> FLModel:
    """Return ``model`` with ``update`` applied; with ``reuse``, arrays of the update may be changed, else neither is.

    ``whose`` is what messages call the update.

    FULL values replace, DIFF values are added. Keys that the update does not hold keep the model's own arrays. Every
    array keeps its dtype, whatever that of the update is: for integer and boolean arrays the real-valued sum is rounded
    to the nearest, ties to even (booleans: true from one half up), so that averaging whole models and averaging
    differences give the same counters.

    Raises:
        UnknownKeyError: the update holds keys that the model does not; an empty model takes any.
        ShapeMismatchError: names the key and both shapes.
        DtypeMismatchError: the update holds complex numbers where the model has real ones; names the key.
        NonFiniteError: a floating-point value of the new model is beyond the range of its dtype; names the key.
    """
    if update.params is None:
        return model
    base = dict(flatten(model.params or {}))
    incoming = dict(flatten(update.params))
    if base:
        check_known(incoming, base, whose=whose)
    merged = dict(base)
    for key, value in incoming.items():
        old = base.get(key)
        if old is None:
            merged[key] = value
            continue
        if np.shape(old) != np.shape(value):
            raise ShapeMismatchError(
                f"'{key_text(key)}': {whose} has shape {np.shape(value)}, the global model has {np.shape(old)};"
                " the sites run another version of the model"
            )
        is_diff = update.params_type is ParamsType.DIFF
        before, given = np.asarray(old), np.asarray(value)
        if not is_diff and before.dtype == given.dtype:
            merged[key] = value
            continue
        if given.dtype.kind == "c" and before.dtype.kind != "c":
            raise DtypeMismatchError(
                f"'{key_text(key)}': {whose} is {given.dtype}, the global model has {before.dtype}; send real numbers"
            )
        try:
            merged[key] = _applied(before, given, is_diff=is_diff, reuse=reuse)
        except FloatingPointError:
            raise NonFiniteError(
                f"'{key_text(key)}': {whose} leads beyond the range of {before.dtype}; train in a wider dtype, or lower"
                " the learning rate. The global model stays as it was"
            ) from None
    return FLModel(
        params=unflatten(merged),
        metrics=update.metrics,
        start_round=model.start_round,
        current_round=update.current_round,
        total_rounds=model.total_rounds,
        meta=dict(model.meta),
    )


def check_known(incoming: Mapping[Key, Any], known: Mapping[Key, Any], *, whose: str) -> None:
    """Refuse keys that are not ``known``, showing samples of both sides and a prefix if that is the difference.

    Args:
        incoming: what was sent, by key; values are not looked at.
        known: by the keys that may be sent.
        whose: who sent it, for the error.
    Raises:
        UnknownKeyError: always names ``whose`` keys they are.
    """
    unknown = [key for key in incoming if key not in known]
    if not unknown:
        return
    samples = ", ".join(repr(key_text(key)) for key in unknown[:3])
    local = ", ".join(repr(key_text(key)) for key in list(known)[:3])
    prefix = _common_prefix(unknown, known)
    hint = (
        f"every one of them is a known key behind the prefix {prefix!r}: remove it before sending, wrappers such as"
        " DataParallel, Opacus or Lightning add it"
        if prefix
        else "send the keys of the model that was received"
    )
    raise UnknownKeyError(
        f"{whose} holds {len(unknown)} of {len(incoming)} keys that the global model does not: {samples}."
        f" The global model has {len(known)} keys: {local}. Remedy: {hint}."
    )


def _common_prefix(unknown: list[Key], known: Mapping[Key, Any]) -> str:
    first = key_text(unknown[0])
    names = {key_text(key) for key in known}
    for name in names:
        prefix = first.removesuffix(name)
        if prefix != first and prefix and all(key_text(key).removeprefix(prefix) in names for key in unknown):
            return prefix
    return ""


def working_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """In what real numbers of ``dtype`` are computed with: float64, or float32 for what has no more bits than that."""
    return np.dtype(np.float64 if dtype == np.float64 else np.float32)


def is_trained(key: Key, value: Any, trainable: Collection[Key] | None) -> bool:
    """Whether a value is one of the ``trainable``; if they are not known, whether it holds real numbers.

    Args:
        key: the value's.
        value: an array, or what numpy makes one of.
        trainable: the keys of what is trained; None if they are not known.
    """
    return np.asarray(value).dtype.kind not in "iubc" if trainable is None else key in trainable


def _applied(old: np.ndarray[Any, Any], value: np.ndarray[Any, Any], *, is_diff: bool, reuse: bool) -> Any:
    """Return the new value of an array of the model, in its dtype.

    Raises:
        FloatingPointError: a finite number is beyond the range of that dtype.
    """
    with np.errstate(over="raise"):
        if not is_diff:
            return _fitted(value, old.dtype)
        if old.dtype.kind in "iub":
            return _fitted(old.astype(np.float64) + value, old.dtype)
        out = value if reuse and value.dtype == old.dtype else None
        return _fitted(np.asarray(np.add(old, value, out=out)), old.dtype)


def _fitted(values: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    if dtype.kind in "iub":
        return rounded(values, dtype)
    fitted = values.astype(dtype, copy=False)
    if dtype.kind == "V" and not np.isfinite(fitted.astype(np.float32)).all():  # bfloat16 and float8 raise nothing
        raise FloatingPointError
    return fitted


def rounded(values: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Round to the nearest integer of ``dtype``, ties to even; booleans are true from one half up.

    Values beyond the range of ``dtype`` are clipped to it and do not wrap around.
    """
    if dtype == np.bool_:
        return np.asarray(values >= 0.5)
    limits = np.iinfo(dtype)
    nearest = np.rint(values.astype(np.float64, copy=False))  # half precision does not reach the limits
    above, below = nearest >= limits.max, nearest <= limits.min
    within = np.where(above | below, 0, nearest).astype(dtype)
    return np.where(above, dtype.type(limits.max), np.where(below, dtype.type(limits.min), within))

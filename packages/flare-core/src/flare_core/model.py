"""FLModel, the model that the server and the sites exchange, and how to apply an update to it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

import numpy as np

from flare_core.errors import DtypeMismatchError, ModelError, NonFiniteError, ShapeMismatchError, UnknownKeyError

Params: TypeAlias = Mapping[str, Any]
"""Arrays by name; an array is numpy, torch or tensorflow, and mappings may be nested."""

Key: TypeAlias = str | tuple[str, ...]
"""A name at the top level, or the path to a value in nested mappings."""

OPTIMIZER_PARAMS = "optimizer_params"
"""The name under which :attr:`FLModel.optimizer_params` are nested in the params on the wire, so that they are
transferred, compressed and summed in the same way."""


class ParamsType(StrEnum):
    """The meaning of ``params``: a whole model, or the difference to the received model."""

    FULL = "FULL"
    DIFF = "DIFF"


class MetaKey(StrEnum):
    """Keys of :attr:`FLModel.meta` that Flare itself reads or writes."""

    NUM_STEPS_CURRENT_ROUND = "NUM_STEPS_CURRENT_ROUND"
    SITE_NAME = "site_name"
    JOB_ID = "job_id"
    ALSO_AT = "also_at"
    NOT_USED_SINCE = "not_used_since"
    """Set in the model that a site receives if the server did not use the site's last results: the round of the first
    unused one. A script that keeps state between rounds must restore the state from before that round."""


@dataclass(slots=True)
class FLModel:
    """A model, or part of one, with its metrics and round.

    Args:
        params_type: FULL or DIFF; FULL by default if ``params`` is given.
        params: arrays by name, optionally nested; may be lazy (an array is fetched when it is read).
        optimizer_params: arrays by name that an algorithm sends along with the params, such as SCAFFOLD's control
            variates.
        metrics: numbers by name, measured on the model *as received*.
        start_round: the first round of the run, counted from 0.
        current_round: the round that this model belongs to, counted from 0.
        total_rounds: the number of rounds of the run.
        meta: any other serializable values; ``NUM_STEPS_CURRENT_ROUND`` is the weight of the contribution.

    Raises:
        ModelError: a type without params, params or metrics that are not a mapping, or a negative round.
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
            try:
                self.params_type = ParamsType(self.params_type)
            except ValueError:
                text = f"params_type is {self.params_type!r}; use ParamsType.FULL or ParamsType.DIFF"
                raise ModelError(text) from None
            if self.params is None:
                raise ModelError(f"params_type is {self.params_type} but there are no params; give params, or no type")
        elif self.params is not None:
            self.params_type = ParamsType.FULL
        if self.meta is None:
            self.meta = {}
        for name in ("params", "optimizer_params", "metrics", "meta"):
            value = getattr(self, name)
            if not isinstance(value, Mapping | None):
                raise ModelError(f"FLModel.{name} is a {type(value).__name__}; give a mapping of names to values")
        for name in ("start_round", "current_round", "total_rounds"):
            value = getattr(self, name)
            is_round = isinstance(value, int | np.integer) and not isinstance(value, bool) and value >= 0
            if value is not None and not is_round:
                raise ModelError(f"FLModel.{name} is {value!r}; a round is an integer of at least 0")

    def __repr__(self) -> str:
        """Describe the model without its values: number of keys, type, rounds, names of metrics and meta."""
        described = {
            "params": None if self.params is None else len(self.params),
            "optimizer_params": None if self.optimizer_params is None else len(self.optimizer_params),
            "metrics": None if self.metrics is None else sorted(self.metrics),
            "meta": sorted(self.meta),
            "params_type": self.params_type,
            "start_round": self.start_round,
            "current_round": self.current_round,
            "total_rounds": self.total_rounds,
        }
        return f"FLModel({', '.join(f'{name}={value!r}' for name, value in described.items())})"


def flatten(params: Params) -> Iterator[tuple[Key, Any]]:
    """Yield ``(key, array)`` for every leaf, in order: a plain name, or a tuple of names where mappings are nested."""
    for name, value in params.items():
        if isinstance(value, Mapping):
            for key, leaf in flatten(value):
                yield (name, *((key,) if isinstance(key, str) else key)), leaf
        else:
            yield name, value


def unflatten(items: Mapping[Key, Any]) -> dict[str, Any]:
    """Rebuild nested mappings from keys of :func:`flatten`."""
    params: dict[str, Any] = {}
    for key, value in items.items():
        *path, name = (key,) if isinstance(key, str) else key
        inner = params
        for each in path:
            inner = inner.setdefault(each, {})
        inner[name] = value
    return params


def copied(params: Params) -> dict[str, Any]:
    """Return params with arrays in memory of their own: those at sites are released, and mapped files read-only."""
    return unflatten({key: np.array(value) for key, value in flatten(params)})


def key_text(key: Key) -> str:
    """Return a key with dots, such as ``encoder.weight``.

    Raises:
        ModelError: it is neither a string nor a tuple of strings.
    """
    if isinstance(key, str):
        return key
    try:
        return ".".join(key)
    except TypeError:
        raise ModelError(f"{key!r} cannot be the name of an array; names are strings, such as str(...) of it") from None


def updated(model: FLModel, update: FLModel, *, reuse: bool = False, whose: str = "the update") -> FLModel:
    """Return ``model`` with ``update`` applied.

    FULL values replace, DIFF values are added. Keys that are missing from the update keep the model's own arrays. Every
    array keeps the model's dtype: for integer and boolean arrays the real-valued sum is rounded to nearest, ties to
    even (booleans: true from 0.5), so that averaging whole models and averaging differences give the same counters.

    Args:
        model: the model; never changed.
        update: whole values or differences.
        reuse: allow changing the update's arrays in place.
        whose: the name of the update in errors.

    Raises:
        UnknownKeyError: the update has keys that the model does not have; an empty model accepts any.
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
                " the sites run a different version of the model"
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
                f"'{key_text(key)}': {whose} exceeds the range of {before.dtype}; train in a wider dtype, or lower the"
                " learning rate. The global model is unchanged"
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
    """Check that the keys of ``incoming`` are among those of ``known``; values are ignored.

    Args:
        incoming: the values that were sent.
        known: the values of the global model.
        whose: the sender, for the error.
    Raises:
        UnknownKeyError: shows sample keys of both sides, and the prefix if they differ only by one.
    """
    unknown = [key for key in incoming if key not in known]
    if not unknown:
        return
    samples = ", ".join(repr(key_text(key)) for key in unknown[:3])
    local = ", ".join(repr(key_text(key)) for key in list(known)[:3])
    prefix = common_prefix(unknown, known)
    hint = (
        f"each of them is a known key with the prefix {prefix!r}, which wrappers such as DataParallel, Opacus or"
        " Lightning add; remove it before sending"
        if prefix
        else "send the keys of the received model"
    )
    raise UnknownKeyError(
        f"{whose} has {len(unknown)} of {len(incoming)} keys that the global model does not have: {samples}."
        f" The global model has {len(known)} keys: {local}. Remedy: {hint}."
    )


def common_prefix(unknown: Sequence[Key], known: Iterable[Key]) -> str:
    """Return the prefix without which all ``unknown`` keys are ``known`` ones, or an empty string."""
    first, names = key_text(next(iter(unknown), "")), {key_text(key) for key in known}
    for prefix in {first.removesuffix(name) for name in names} - {first, ""}:
        if all(key_text(key).removeprefix(prefix) in names for key in unknown):
            return prefix
    return ""


def working_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype for arithmetic on real numbers of ``dtype``: float64 for float64, else float32."""
    return np.dtype(np.float64 if dtype == np.float64 else np.float32)


def is_trained(key: Key, value: Any, trainable: Collection[Key] | None) -> bool:
    """Return True if a parameter is trained.

    Args:
        key: the key of the parameter.
        value: the parameter, array-like.
        trainable: the keys of trained parameters; if None, every parameter of real numbers counts as trained.
    """
    return np.asarray(value).dtype.kind not in "iubc" if trainable is None else key in trainable


def _applied(old: np.ndarray[Any, Any], value: np.ndarray[Any, Any], *, is_diff: bool, reuse: bool) -> Any:
    """Return the new value of an array in its dtype; raise FloatingPointError if a value is beyond the range."""
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
    if dtype.kind == "V" and not np.isfinite(fitted.astype(np.float32)).all():  # errstate ignores bfloat16 and float8
        raise FloatingPointError
    return fitted


def rounded(values: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Round to the nearest integer of ``dtype``, ties to even; booleans are true from 0.5.

    Values beyond the range of ``dtype`` are clipped instead of wrapping around.
    """
    if dtype == np.bool_:
        return np.asarray(values >= 0.5)
    limits = np.iinfo(dtype)
    nearest = np.rint(values.astype(np.float64, copy=False))  # half precision cannot represent the limits
    above, below = nearest >= limits.max, nearest <= limits.min
    within = np.where(above | below, 0, nearest).astype(dtype)
    return np.where(above, dtype.type(limits.max), np.where(below, dtype.type(limits.min), within))

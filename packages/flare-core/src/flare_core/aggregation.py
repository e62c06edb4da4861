"""Aggregators: how the contributions of one round become one update.

An aggregator is fed while replies arrive and reads each contribution tensor by tensor, so the server never holds a
site's whole model. It is reset before each round, and a run always starts with a fresh copy of it.
"""

from __future__ import annotations

import cmath
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

import numpy as np

from flare_core.errors import (
    DtypeMismatchError,
    EmptyRoundError,
    ModelError,
    NonFiniteError,
    ShapeMismatchError,
)
from flare_core.model import (
    FLModel,
    Key,
    Params,
    ParamsType,
    check_known,
    flatten,
    key_text,
    rounded,
    unflatten,
    updated,
)
from flare_core.task import Reply, checked_weight

__all__ = ["Aggregator", "TensorBlocks", "WeightedMean", "check_finite", "tensors_of"]

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

BLOCK_ITEMS = 1 << 16  # large tensors are summed in parts that stay in the processor's cache


@dataclass(slots=True)
class TensorBlocks:
    """One tensor as a sequence of flat blocks, in order; a block is valid until the next is taken.

    Attributes:
        dtype: that of every block.
        shape: that of the whole tensor.
        blocks: one-dimensional arrays, in C order; taken once.
        same: the tensor of the model that the site was sent, if it has sent back the same bytes.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    blocks: Iterable[Array]
    same: Array | None = None

    @classmethod
    def of(cls, array: Array) -> TensorBlocks:
        """An array as a single block."""
        return cls(array.dtype, array.shape, (array.reshape(-1),))


def tensors_of(params: Params) -> Iterator[tuple[Key, TensorBlocks]]:
    """Yield every tensor of ``params`` block by block: as they arrive, if ``params`` can (it has ``blocks()``).

    Raises:
        ModelError: a value is not an array.
    """
    if hasattr(params, "blocks"):
        yield from params.blocks()
        return
    for key, value in flatten(params):
        try:
            array = np.asarray(value)
        except (TypeError, ValueError) as error:  # such as lists of different lengths in a list
            raise ModelError(f"'{key_text(key)}' is a {type(value).__name__}, not an array ({error})") from error
        yield key, TensorBlocks.of(array)


class Aggregator(ABC):
    """Turn the contributions of one round into one update of the global model.

    Attributes:
        takes_sparse: whether contributions may leave most values out, as ``topk`` does; only an aggregator that sums
            recovers these over the rounds.
        least_sites: the number of sites that must contribute to a round.
        is_robust: whether a minority of wrong contributions cannot control the result. Then the sites' metrics are
            combined by their median, too, and all sites count alike.
    """

    takes_sparse: ClassVar[bool] = True
    least_sites: int = 1
    is_robust: ClassVar[bool] = False

    @abstractmethod
    def add(self, reply: Reply) -> None:
        """Take one site's contribution; read what is needed from ``reply.model.params`` before returning."""

    @abstractmethod
    def result(self) -> FLModel:
        """Return the update: FULL (replaces) or DIFF (is added to the global model).

        Raises:
            EmptyRoundError: nothing was added, or nothing with weight.
        """

    @abstractmethod
    def reset(self) -> None:
        """Forget the round; called before each one."""

    def update(self, model: FLModel) -> FLModel:
        """Return the next global model: ``model`` with :meth:`result` applied.

        Raises:
            ModelError: the result is not a model with params; names the class.
        """
        return updated(model, checked_result(self))


def checked_result(aggregator: Aggregator) -> FLModel:
    """Return the result of an aggregator, which may be the user's own.

    Raises:
        ModelError: it is not a model with params; names the class.
    """
    result: Any = aggregator.result()
    name = type(aggregator).__name__
    if not isinstance(result, FLModel):
        raise ModelError(f"{name}.result() returned a {type(result).__name__}; return FLModel(params=...)")
    if not result.params:
        raise ModelError(f"{name}.result() returned a model without params; return FLModel(params=...)")
    return result


@dataclass(slots=True)
class _Sum:
    """The running weighted sum under one key."""

    total: Array | None  # none as long as all sites have sent back what they were sent
    weight: float
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    site: str  # who sent the key first: named when another site disagrees
    same: Array | None = None
    same_weights: list[float] = field(default_factory=list)  # of those that are not in the total


class WeightedMean(Aggregator):
    """Average each key over the sites that sent it, weighted by their number of steps.

    A contribution's weight is ``meta["NUM_STEPS_CURRENT_ROUND"]`` (else 1) times its site's entry in ``site_weights``
    (else 1). Sums run in float32 for floating-point inputs of up to 32 bits (bfloat16 and float8 included), in float64
    for float64, integers and booleans, and in the input's own precision for complex numbers; the mean has the dtype
    and shape of the first contribution that held the key. Integers are rounded to the nearest, ties to even; booleans
    are true from one half up. The mean of integer *differences* stays real until it is added to the model.

    Args:
        site_weights: extra factor by site name.
        exclude: a regular expression searched for in each key, or a list of names; what matches is left out of the
            mean, and the server keeps its own.

    Source: McMahan et al. 2017, arXiv:1602.05629, algorithm 1; we weight over the sites that answered, not over all.

    Example:
        >>> from flare_core import FLModel, Reply
        >>> def reply(site, values, steps):
        ...     model = FLModel(params={"w": np.array(values)}, meta={"NUM_STEPS_CURRENT_ROUND": steps})
        ...     return Reply(site, "train", model)
        >>> mean = WeightedMean()
        >>> mean.add(reply("site-1", [1.0, 2.0], steps=1))
        >>> mean.add(reply("site-2", [3.0, 6.0], steps=3))
        >>> mean.result().params["w"]
        array([2.5, 5. ])
    """

    def __init__(
        self,
        *,
        site_weights: Mapping[str, float] | None = None,
        exclude: str | Iterable[str] | None = None,
    ) -> None:
        self.site_weights = {
            site: checked_weight(weight, site, "its entry in aggregation_weights")
            for site, weight in (site_weights or {}).items()
        }
        self.exclude = exclude if exclude is None or isinstance(exclude, str) else list(exclude)
        self._excluded = _matcher(self.exclude)
        self.reset()

    def reset(self) -> None:
        self._sums: dict[Key, _Sum] = {}
        self._type: ParamsType | None = None
        self._type_site = ""
        self._sites: list[str] = []
        self._weight = 0.0
        self._round: int | None = None

    def add(self, reply: Reply) -> None:
        """Add one contribution, tensor by tensor.

        Raises:
            WeightError: the weight is negative, NaN or infinite.
            NonFiniteError: an array holds NaN or infinity; the round cannot be used any more.
            ShapeMismatchError, DtypeMismatchError: the site disagrees with an earlier one about a key.
            ModelError: it holds no params, or differences where others sent whole models.
        """
        site, model = reply.site, reply.model
        weight = self.weight(reply)
        if model.params is None:
            raise ModelError(f"{site}: the reply to '{reply.task}' holds no params; send FLModel(params=...)")
        if self._type is None:
            self._type, self._type_site = model.params_type, site
        elif model.params_type is not self._type:
            raise ModelError(
                f"{site} sent params_type {model.params_type} where {self._type_site} sent {self._type};"
                " all sites of a round must send the same kind"
            )
        self._sites.append(site)
        self._round = reply.round
        self._weight += weight
        if weight == 0:
            return
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is looked for, and named
            for key, tensor in tensors_of(model.params):
                if not self.excludes(key):
                    self._add_tensor(key, tensor, weight, site)

    def weight(self, reply: Reply) -> float:
        """The factor with which a reply enters the mean."""
        return reply.num_steps * self.site_weights.get(reply.site, 1.0)

    def excludes(self, key: Key) -> bool:
        """Return whether a key is left out of the mean, so that the server keeps its own value."""
        return self._excluded(key)

    def result(self) -> FLModel:
        return self._result(keep_sums=True)

    def update(self, model: FLModel) -> FLModel:
        """Return ``model`` with the mean applied; gives up the sums, so call it once a round.

        Raises:
            UnknownKeyError: the sites sent keys that the global model does not have.
        """
        if model.params:
            known = dict(flatten(model.params))
            check_known(self._sums, known, whose=self._first_stranger(known))
        return updated(model, self._result(keep_sums=False), reuse=True)

    def _first_stranger(self, known: Mapping[Key, Any]) -> str:
        return next((entry.site for key, entry in self._sums.items() if key not in known), "the update")

    def _result(self, *, keep_sums: bool) -> FLModel:
        if not self._sites:
            raise EmptyRoundError("no site contributed to this round; the global model stays as it was")
        if self._weight == 0:
            raise EmptyRoundError(
                f"the total weight of {', '.join(self._sites)} is zero, so there is no mean; the global model stays as"
                ' it was. Check what the scripts put into meta["NUM_STEPS_CURRENT_ROUND"]'
            )
        means = {key: self._mean(entry, keep=keep_sums) for key, entry in self._sums.items()}
        if not keep_sums:
            self._sums = {}
        return FLModel(params_type=self._type, params=unflatten(means), current_round=self._round)

    def _mean(self, entry: _Sum, *, keep: bool) -> Array:
        if entry.total is None:
            assert entry.same is not None
            return entry.same  # the mean of equals, without rounding
        is_integer = entry.dtype.kind in "iub"
        out = None if keep else entry.total
        mean: Array = np.divide(entry.total, entry.weight, out=out)
        if is_integer and self._type is not ParamsType.DIFF:
            return rounded(mean, entry.dtype)
        return mean if is_integer else mean.astype(entry.dtype, copy=False)

    def _add_tensor(self, key: Key, tensor: TensorBlocks, weight: float, site: str) -> None:
        entry = self._sums.get(key)
        if entry is None:
            entry = self._sums[key] = _Sum(None, 0.0, tensor.dtype, tensor.shape, site)
        elif tensor.shape != entry.shape:
            raise ShapeMismatchError(
                f"'{key_text(key)}': {site} sent shape {tensor.shape}, {entry.site} sent {entry.shape};"
                " the sites run different versions of the model"
            )
        elif kind_of(tensor.dtype) != kind_of(entry.dtype):
            raise DtypeMismatchError(
                f"'{key_text(key)}': {site} sent {tensor.dtype}, {entry.site} sent {entry.dtype}; send the dtype of the"
                " model that was received"
            )
        if tensor.same is not None and entry.total is None and self._type is not ParamsType.DIFF:
            if entry.same is None and _count_non_finite(tensor.same):
                raise _non_finite(tensor.same, tensor, key, site)
            entry.same = tensor.same
            entry.same_weights.append(weight)
        else:
            same, weights = entry.same, entry.same_weights
            entry.same, entry.same_weights = None, []
            for each in weights:  # as if they had been added when they came
                assert same is not None
                self._add_blocks(entry, key, TensorBlocks.of(same), each, site)
            self._add_blocks(entry, key, tensor, weight, site)
        entry.weight += weight

    def _add_blocks(self, entry: _Sum, key: Key, tensor: TensorBlocks, weight: float, site: str) -> None:
        is_first = entry.total is None
        if entry.total is None:
            entry.total = np.empty(tensor.shape, _accumulator_dtype(tensor.dtype, key, site))
        flat, start = entry.total.reshape(-1), 0
        for block in tensor.blocks:
            for first in range(0, block.size, BLOCK_ITEMS):
                part = block[first : first + BLOCK_ITEMS]
                end = start + part.size
                if not _add_scaled(flat[start:end], part, weight, is_first=is_first):
                    raise _non_finite(part, tensor, key, site)
                start = end


def _add_scaled(total: Array, values: Array, weight: float, *, is_first: bool) -> bool:
    """Add ``weight * values`` to ``total`` in place; false if a value, or the new total, is not finite.

    The values are converted, scaled, checked and added while they are in the cache. A finite sum proves them finite; a
    sum that is not may only have overflowed, so they are then looked at one by one.
    """
    scaled = np.multiply(values, weight, total if is_first else None, dtype=total.dtype, casting="unsafe")
    # Of a single number, real or complex, cmath tells it several times as fast as numpy.
    if not cmath.isfinite(np.add.reduce(scaled)) and not np.isfinite(scaled).all():
        return False
    if not is_first:
        try:
            with np.errstate(over="raise"):
                total += scaled
        except FloatingPointError:
            return False
    return True


def _accumulator_dtype(dtype: np.dtype[Any], key: Key, site: str) -> np.dtype[Any]:
    if dtype.kind in "iub" or dtype == np.float64:
        return np.dtype(np.float64)
    if dtype.kind == "c" or (dtype.kind == "f" and dtype.itemsize > 8):
        return dtype
    if dtype.kind == "f" or np.can_cast(dtype, np.float32):  # bfloat16 and float8 are of numpy's kind "V"
        return np.dtype(np.float32)
    raise DtypeMismatchError(f"'{key_text(key)}': {site} sent {dtype}, which has no mean; send numbers only")


def kind_of(dtype: np.dtype[Any]) -> str:
    """What a dtype has to do with others: floats of all widths can be averaged with each other."""
    return {"i": "integer", "u": "integer", "b": "boolean", "c": "complex"}.get(dtype.kind, "float")


def check_finite(model: FLModel, *, source: str) -> None:
    """Refuse a model that holds NaN or infinity.

    Raises:
        NonFiniteError: names the first such key and ``source``.
    """
    for key, value in flatten(model.params or {}):
        array = np.asarray(value)
        if _count_non_finite(array):
            raise _non_finite(array, TensorBlocks.of(array), key, source)


def _count_non_finite(array: Array) -> int:
    if array.dtype.kind in "iub":
        return 0
    numbers = array if array.dtype.kind in "fc" else array.astype(np.float64)  # bfloat16 and float8 are of kind "V"
    return int(array.size - np.count_nonzero(np.isfinite(numbers)))


def _non_finite(part: Array, tensor: TensorBlocks, key: Key, source: str) -> NonFiniteError:
    count = _count_non_finite(part)
    where = "" if part.size == math.prod(tensor.shape) else f", among {part.size} values looked at,"
    what = (
        f"holds{where} {count} that are NaN or infinite"
        if count
        else "overflows when it is weighted and added to the others"
    )
    return NonFiniteError(
        f"{source}: '{key_text(key)}' {what}; its training diverged (lower the learning rate, clip gradients)."
        " The global model stays as it was"
    )


def _matcher(exclude: str | list[str] | None) -> Callable[[Key], bool]:
    if exclude is None:
        return lambda key: False
    if exclude == "":
        raise ModelError("exclude_vars is '', which matches every key; leave it out to exclude nothing")
    if isinstance(exclude, str):
        try:
            pattern = re.compile(exclude)
        except re.error as error:
            raise ModelError(f"exclude_vars is {exclude!r}, no regular expression: {error}") from error
        return lambda key: pattern.search(key_text(key)) is not None
    names = set(exclude)
    return lambda key: key_text(key) in names

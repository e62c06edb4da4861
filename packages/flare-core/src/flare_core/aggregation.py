"""Aggregators: combine the contributions of one round into one update.

An aggregator receives replies as they arrive and reads each contribution tensor by tensor, so the server never holds a
site's whole model. It is reset before each round, and every run starts with a fresh copy of it.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flare_core.errors import DtypeMismatchError, EmptyRoundError, ModelError, ShapeMismatchError
from flare_core.model import FLModel, Key, ParamsType, check_known, flatten, key_text, rounded, unflatten, updated
from flare_core.task import Reply, checked_weight
from flare_core.tensor_blocks import Array, TensorBlocks, kind_of, non_finite_error, tensors_of

BLOCK_ITEMS = 1 << 16  # tensors are summed in blocks, so that the weighted copy of a block stays small


class Aggregator(ABC):
    """Turn the contributions of one round into one update of the global model.

    Attributes:
        takes_sparse: accept contributions that omit most values, as ``topk`` does. Only a sum recovers the omitted
            values over the rounds.
        keeps_replies: read contributions again in :meth:`result`. Otherwise a contribution is released as soon as
            :meth:`add` returns, and its site continues.
        least_sites: minimum number of sites that must contribute to a round.
        is_robust: a minority of wrong contributions cannot control the result. The sites' metrics are then combined by
            their median as well, and every site counts the same.
    """

    takes_sparse: ClassVar[bool] = True
    keeps_replies: ClassVar[bool] = False
    least_sites: int = 1
    is_robust: ClassVar[bool] = False

    @abstractmethod
    def add(self, reply: Reply) -> None:
        """Add one site's contribution; unless ``keeps_replies`` is set, read its params before returning."""

    @abstractmethod
    def result(self) -> FLModel:
        """Return the update: FULL replaces the global model, DIFF is added to it.

        Raises:
            EmptyRoundError: there are no contributions, or their total weight is zero.
        """

    @abstractmethod
    def reset(self) -> None:
        """Discard all contributions; called before each round."""

    def update(self, model: FLModel) -> FLModel:
        """Return the next global model: ``model`` with :meth:`result` applied.

        Raises:
            ModelError: the result is not a model with params; names the class.
        """
        return updated(model, checked_result(self))


def checked_result(aggregator: Aggregator) -> FLModel:
    """Return the result of an aggregator, which may be user code.

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

    total: Array  # uninitialized until the first tensor is added
    weight: float
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    site: str  # the first site to send the key, named in errors about later ones
    unchanged: Array | None  # the tensor that was sent out, as long as every site has returned it unchanged


class WeightedMean(Aggregator):
    """Average each key over the sites that sent it, weighted by their number of steps.

    A contribution's weight is ``meta["NUM_STEPS_CURRENT_ROUND"]`` times its site's entry in ``site_weights``; either
    defaults to 1. Sums accumulate in float32 for floating-point inputs of up to 32 bits (including bfloat16 and
    float8), in float64 for float64, integers and booleans, and in the input's own precision for complex numbers. The
    mean has the dtype and shape of the first contribution with that key. Integers are rounded to nearest, ties to
    even; booleans are true from 0.5. The mean of integer *differences* stays real until it is added to the model. A
    tensor that every site returned unchanged keeps its exact bits.

    Args:
        site_weights: extra factor by site name.
        exclude: a regular expression searched for in each key, or a list of names; the server keeps its own values for
            matching keys.

    Source: McMahan et al. 2017, arXiv:1602.05629, algorithm 1, with weights normalized over the sites that replied.

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
            NonFiniteError: an array holds NaN or infinity; the sums of the round are unusable afterwards.
            ShapeMismatchError, DtypeMismatchError: the site disagrees with an earlier one about a key.
            ModelError: it holds no params, or its params_type differs from that of the other sites.
        """
        site, model = reply.site, reply.model
        weight = self.weight(reply)
        if model.params is None:
            raise ModelError(f"{site}: the reply to '{reply.task}' holds no params; send FLModel(params=...)")
        if self._type is None:
            self._type, self._type_site = model.params_type, site
        elif model.params_type is not self._type:
            raise ModelError(
                f"{site} sent params_type {model.params_type}, but {self._type_site} sent {self._type}; send the same"
            )
        self._sites.append(site)
        self._round = reply.round
        self._weight += weight
        if weight == 0:
            return
        with np.errstate(over="ignore", invalid="ignore"):  # _add_tensor raises an error that names the tensor
            for key, tensor in tensors_of(model.params):
                if not self.excludes(key):
                    self._add_tensor(key, tensor, weight, site)

    def weight(self, reply: Reply) -> float:
        """Return the weight of a reply in the mean."""
        return reply.num_steps * self.site_weights.get(reply.site, 1.0)

    def excludes(self, key: Key) -> bool:
        """Return True if the mean leaves a key out, so that the server keeps its own value."""
        return self._excluded(key)

    def result(self) -> FLModel:
        return self._result(keep_sums=True)

    def update(self, model: FLModel) -> FLModel:
        """Return ``model`` with the mean applied. This consumes the sums, so call it once per round.

        Raises:
            UnknownKeyError: the sites sent keys that the global model does not have.
        """
        if model.params:
            known = dict(flatten(model.params))
            sender = next((entry.site for key, entry in self._sums.items() if key not in known), "the update")
            check_known(self._sums, known, whose=sender)
        return updated(model, self._result(keep_sums=False), reuse=True)

    def _result(self, *, keep_sums: bool) -> FLModel:
        if not self._sites:
            raise EmptyRoundError("no site contributed to this round; the global model is unchanged")
        if self._weight == 0:
            raise EmptyRoundError(
                f"the total weight of {', '.join(self._sites)} is zero, so there is no mean and the global model is"
                ' unchanged; check meta["NUM_STEPS_CURRENT_ROUND"] in the scripts'
            )
        means = {key: self._mean(entry, keep=keep_sums) for key, entry in self._sums.items()}
        if not keep_sums:
            self._sums = {}
        return FLModel(params_type=self._type, params=unflatten(means), current_round=self._round)

    def _mean(self, entry: _Sum, *, keep: bool) -> Array:
        if entry.unchanged is not None and self._type is not ParamsType.DIFF:
            return entry.unchanged  # a weighted sum of equal values is rounded, so a frozen tensor would drift
        is_integer = entry.dtype.kind in "iub"
        out = None if keep else entry.total
        mean: Array = np.divide(entry.total, entry.weight, out=out)
        if is_integer and self._type is not ParamsType.DIFF:
            return rounded(mean, entry.dtype)
        return mean if is_integer else mean.astype(entry.dtype, copy=False)

    def _add_tensor(self, key: Key, tensor: TensorBlocks, weight: float, site: str) -> None:
        entry = self._sums.get(key)
        is_first = entry is None
        if entry is None:
            total = np.empty(tensor.shape, _accumulator_dtype(tensor.dtype, key, site))
            entry = _Sum(total, 0.0, tensor.dtype, tensor.shape, site, tensor.unchanged)
            self._sums[key] = entry
        elif tensor.shape != entry.shape:
            raise ShapeMismatchError(
                f"'{key_text(key)}': {site} sent shape {tensor.shape}, {entry.site} sent {entry.shape};"
                " the sites run different versions of the model"
            )
        elif kind_of(tensor.dtype) != kind_of(entry.dtype):
            what = f"'{key_text(key)}': {site} sent {tensor.dtype}, {entry.site} sent {entry.dtype}"
            raise DtypeMismatchError(f"{what}; send the dtype of the received model")
        if tensor.unchanged is not entry.unchanged:  # identity: filters may have sent each site a different tensor
            entry.unchanged = None
        flat, start = entry.total.reshape(-1), 0
        for block in tensor.blocks:
            for first in range(0, block.size, BLOCK_ITEMS):
                part = block[first : first + BLOCK_ITEMS]
                total = flat[start : start + part.size]
                weighted = np.multiply(part, weight, dtype=total.dtype, casting="unsafe")
                if is_first:
                    total[:] = weighted
                else:
                    total += weighted
                if not np.isfinite(total).all():
                    raise non_finite_error(part, tensor.shape, key, site)
                start += part.size
        entry.weight += weight


def _accumulator_dtype(dtype: np.dtype[Any], key: Key, site: str) -> np.dtype[Any]:
    if dtype.kind in "iub" or dtype == np.float64:
        return np.dtype(np.float64)
    if dtype.kind == "c" or (dtype.kind == "f" and dtype.itemsize > 8):
        return dtype
    if dtype.kind == "f" or np.can_cast(dtype, np.float32):  # bfloat16 and float8 are of numpy's kind "V"
        return np.dtype(np.float32)
    raise DtypeMismatchError(f"'{key_text(key)}': {site} sent {dtype}, which has no mean; send numbers only")


def _matcher(exclude: str | list[str] | None) -> Callable[[Key], bool]:
    if exclude is None:
        return lambda key: False
    if exclude == "":
        raise ModelError("exclude_vars is '', which matches every key; leave it out to exclude nothing")
    if isinstance(exclude, str):
        try:
            pattern = re.compile(exclude)
        except re.error as error:
            raise ModelError(f"exclude_vars is {exclude!r}, not a valid regular expression: {error}") from error
        return lambda key: pattern.search(key_text(key)) is not None
    names = set(exclude)
    return lambda key: key_text(key) in names

"""Staleness: contributions that sites made from an older model than the one that they are to change.

What counts of such a contribution is its difference to the model that it was made from. So it is *rebased*: it becomes

    current + (1 + age)^-exponent * (contribution - model it was made from)

after which it is aggregated like any other. The discount is not part of the weights by which a mean is divided: an old
contribution moves the model less, instead of making the others count for more.

Source: Nguyen et al. 2022, "Federated Learning with Buffered Asynchronous Aggregation", arXiv:2106.06639, algorithm 1;
the discount is the polynomial one of Xie et al. 2019, "Asynchronous Federated Optimization", arXiv:1903.03934.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from flare_core.model import FLModel, Key, Params, ParamsType, flatten, rounded, working_dtype
from flare_core.task import Reply
from flare_core.tensor_blocks import Array, TensorBlocks, tensors_of

__all__ = ["discount", "rebased"]


def discount(age: int, exponent: float) -> float:
    """The factor for a contribution that is ``age`` rounds old: ``(1 + age)^-exponent``."""
    return float((1 + age) ** -exponent)


def rebased(reply: Reply, current: FLModel, factor: float) -> Reply:
    """Return a reply as if its site had been given ``current``.

    Args:
        reply: with the model that the site was given in ``reply.sent``.
        current: the global model.
        factor: on the difference that the site has made.
    """
    params = reply.model.params
    if params is None:
        return reply
    moved: Params
    if reply.model.params_type is ParamsType.DIFF:
        if factor == 1.0:
            return reply
        moved = _Moved(params, None, {}, factor)
    else:
        sent = reply.sent.params if reply.sent is not None else None
        moved = _Moved(params, dict(flatten(current.params or {})), dict(flatten(sent or {})), factor)
    return replace(reply, model=replace(reply.model, params=moved))


class _Moved(Mapping[str, Any]):
    """Params whose values are moved as they are read, so that no more of them is held than before.

    Args:
        params: what a site has sent.
        current: the global model; None if the params are differences, which only need the factor.
        sent: the model that the site was given.
    """

    def __init__(
        self, params: Params, current: Mapping[Key, Any] | None, sent: Mapping[Key, Any], factor: float
    ) -> None:
        self._params = params
        self._current = current
        self._sent = sent
        self._factor = factor

    def __getitem__(self, name: str) -> Any:
        value = self._params[name]
        if isinstance(value, Mapping):
            current = None if self._current is None else _below(self._current, name)
            return _Moved(value, current, _below(self._sent, name), self._factor)
        array = np.asarray(value)
        blocks = self._mover(name, array.shape, array.dtype)([array.reshape(-1)])
        return np.concatenate([*blocks]).reshape(array.shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self._params)

    def __len__(self) -> int:
        return len(self._params)

    def blocks(self) -> Iterator[tuple[Key, TensorBlocks]]:
        """Every tensor's key, and its moved values block by block, as an aggregator reads them."""
        for key, tensor in tensors_of(self._params):
            mover = self._mover(key, tensor.shape, tensor.dtype)
            yield key, TensorBlocks(tensor.dtype, tensor.shape, mover(tensor.blocks))

    def keep(self) -> None:
        """Have the params stay readable after the next reply was taken, if they can."""
        if hasattr(self._params, "keep"):
            self._params.keep()

    def _mover(self, key: Key, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Callable[..., Iterator[Array]]:
        """What moves the blocks of one tensor."""
        work = np.dtype(np.float64) if dtype.kind in "iub" else dtype if dtype.kind == "c" else working_dtype(dtype)
        if self._current is None:
            return lambda blocks: (_as(self._factor * block.astype(work), dtype) for block in blocks)
        current, sent = self._current.get(key), self._sent.get(key)
        if current is None or sent is None or not np.shape(current) == np.shape(sent) == shape:
            return iter  # the aggregator says what is wrong with it, if anything is
        new, old = np.asarray(current).reshape(-1), np.asarray(sent).reshape(-1)
        return lambda blocks: self._moved(blocks, new, old, work, dtype)

    def _moved(
        self, blocks: Iterable[Array], new: Array, old: Array, work: np.dtype[Any], dtype: np.dtype[Any]
    ) -> Iterator[Array]:
        start = 0
        for block in blocks:
            part = slice(start, start + block.size)
            start += block.size
            difference = block.astype(work) - old[part].astype(work)
            yield _as(new[part].astype(work) + self._factor * difference, dtype)


def _as(values: Array, dtype: np.dtype[Any]) -> Array:
    return rounded(values, dtype) if dtype.kind in "iub" else values.astype(dtype, copy=False)


def _below(values: Mapping[Key, Any], name: str) -> dict[Key, Any]:
    """What lies below a name of nested params, by what is left of its keys."""
    found: dict[Key, Any] = {}
    for key, value in values.items():
        if not isinstance(key, str) and key[0] == name:
            found[key[1] if len(key) == 2 else key[1:]] = value
    return found

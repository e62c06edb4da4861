"""Staleness: contributions that were trained from an older model than the current one.

Only the change that such a contribution makes to its own base model counts, so it is *rebased* to

    current + (1 + age)^-exponent * (contribution - base model)

and then aggregated like any other. The discount is not part of the weights by which a mean is divided: a stale
contribution moves the model less, rather than giving the others more weight.

Source: Nguyen et al. 2022, "Federated Learning with Buffered Asynchronous Aggregation", arXiv:2106.06639, algorithm 1,
with the polynomial discount of Xie et al. 2019, "Asynchronous Federated Optimization", arXiv:1903.03934.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from flare_core.model import FLModel, Key, Params, ParamsType, flatten, rounded, working_dtype
from flare_core.task import Reply
from flare_core.tensor_blocks import Array, LazyParams, TensorBlocks, keys_of, tensors_of


def discount(age: int, exponent: float) -> float:
    """Return the factor for a contribution that is ``age`` rounds old: ``(1 + age)^-exponent``."""
    return float((1 + age) ** -exponent)


def rebased(reply: Reply, current: FLModel, factor: float) -> Reply:
    """Rebase a reply, as if its site had received the current model.

    Args:
        reply: the reply, with the model that the site received in ``reply.sent``.
        current: the global model.
        factor: the factor on the site's change.
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
    return reply.with_model(replace(reply.model, params=moved))


@dataclass(eq=False, repr=False)
class _Moved(LazyParams):
    """Params that are rebased block by block as they are read; ``_current`` is None for differences."""

    _params: Params
    _current: Mapping[Key, Any] | None
    _sent: Mapping[Key, Any]
    _factor: float

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

    def tensor_keys(self) -> list[Key]:
        return keys_of(self._params)

    def tensors(self) -> Iterator[tuple[Key, TensorBlocks]]:
        for key, tensor in tensors_of(self._params):
            mover = self._mover(key, tensor.shape, tensor.dtype)
            yield key, TensorBlocks(tensor.dtype, tensor.shape, mover(tensor.blocks))

    def _mover(self, key: Key, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Callable[..., Iterator[Array]]:
        """Return the function that rebases the blocks of one tensor."""
        work = np.dtype(np.float64) if dtype.kind in "iub" else dtype if dtype.kind == "c" else working_dtype(dtype)
        if self._current is None:
            return lambda blocks: (_as(self._factor * block.astype(work), dtype) for block in blocks)
        current, sent = self._current.get(key), self._sent.get(key)
        if current is None or sent is None or not np.shape(current) == np.shape(sent) == shape:
            return iter  # unchanged, so that the aggregator reports the mismatch, if it is one
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
    """Return the values nested under a name, by their keys without that name."""
    nested = {key[1:]: value for key, value in values.items() if not isinstance(key, str) and key[0] == name}
    return {key[0] if len(key) == 1 else key: value for key, value in nested.items()}

"""The tensors of a model, read one by one and block by block, so that no model has to be in memory as a whole."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from flare_core.errors import ModelError, NonFiniteError
from flare_core.model import FLModel, Key, Params, flatten, key_text

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


@dataclass(slots=True)
class TensorBlocks:
    """One tensor as a sequence of flat blocks, in order; a block is valid until the next is taken.

    Attributes:
        dtype: of every block.
        shape: of the whole tensor.
        blocks: one-dimensional arrays, in C order; can be iterated over once.
        unchanged: the tensor that the site was sent, if the site has returned the same bytes; else None.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    blocks: Iterable[Array]
    unchanged: Array | None = None

    @classmethod
    def of(cls, array: Array) -> TensorBlocks:
        """Return an array as a single block."""
        return cls(array.dtype, array.shape, (array.reshape(-1),))


class LazyParams(Mapping[str, Any], ABC):
    """Params whose arrays are fetched or computed when they are read; nested mappings are lazy, too."""

    @abstractmethod
    def tensor_keys(self) -> list[Key]:
        """Return the key of every tensor, without reading any."""

    def __contains__(self, name: object) -> bool:
        return any(name == each for each in self)  # that of Mapping would fetch the array

    def arrays(self) -> Iterator[tuple[Key, Any]]:
        """Yield every key and its array, one after the other."""
        yield from flatten(self)

    def tensors(self) -> Iterator[tuple[Key, TensorBlocks]]:
        """Yield every key and its tensor; blocks that were not read are skipped when the next tensor is taken.

        Raises:
            ModelError: a value is not an array.
        """
        yield from _tensors(self.arrays())


def keys_of(params: Params) -> list[Key]:
    """Return the key of every tensor of ``params`` without reading lazy ones."""
    return params.tensor_keys() if isinstance(params, LazyParams) else [key for key, _ in flatten(params)]


def tensors_of(params: Params) -> Iterator[tuple[Key, TensorBlocks]]:
    """Yield every tensor of ``params`` with its key; block by block as they arrive, if ``params`` are lazy.

    Raises:
        ModelError: a value is not an array.
    """
    return params.tensors() if isinstance(params, LazyParams) else _tensors(flatten(params))


def _tensors(arrays: Iterable[tuple[Key, Any]]) -> Iterator[tuple[Key, TensorBlocks]]:
    for key, value in arrays:
        try:
            array = np.asarray(value)
        except (TypeError, ValueError) as error:  # such as lists of different lengths in a list
            raise ModelError(f"'{key_text(key)}' is a {type(value).__name__}, not an array ({error})") from error
        yield key, TensorBlocks.of(array)


def kind_of(dtype: np.dtype[Any]) -> str:
    """Return the kind of a dtype's numbers; dtypes of one kind can be averaged with each other, such as all floats."""
    return {"i": "integer", "u": "integer", "b": "boolean", "c": "complex"}.get(dtype.kind, "float")


def check_finite(model: FLModel, *, source: str) -> None:
    """Refuse a model that holds NaN or infinity.

    Raises:
        NonFiniteError: names the first such key and ``source``.
    """
    for key, value in flatten(model.params or {}):
        array = np.asarray(value)
        if _count_non_finite(array):
            raise non_finite_error(array, array.shape, key, source)


def non_finite_error(part: Array, shape: tuple[int, ...], key: Key, source: str) -> NonFiniteError:
    """Return the error about a tensor that is not finite, or whose sum is not.

    Args:
        part: the values that were looked at: the tensor, or a block of it.
        shape: of the whole tensor.
        key: of the tensor.
        source: who sent it.
    """
    count = _count_non_finite(part)
    where = "" if part.size == math.prod(shape) else f", among {part.size} values looked at,"
    problem = (
        f"holds{where} {count} that are NaN or infinite"
        if count
        else "overflows when it is weighted and added to the others"
    )
    return NonFiniteError(
        f"{source}: '{key_text(key)}' {problem}; its training diverged (lower the learning rate, clip gradients)."
        " The global model is unchanged"
    )


def _count_non_finite(array: Array) -> int:
    if array.dtype.kind in "iub":
        return 0
    numbers = array if array.dtype.kind in "fc" else array.astype(np.float64)  # bfloat16 and float8 are of kind "V"
    return int(array.size - np.count_nonzero(np.isfinite(numbers)))

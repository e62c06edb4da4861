"""Between frameworks without copying: anything with array memory to numpy, and numpy to torch."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from flare_fobs.dtypes import dtype_name
from flare_fobs.errors import DecodeError, EncodeError

if TYPE_CHECKING:
    import torch

__all__ = ["to_numpy", "to_torch"]


def to_numpy(value: Any, *, key: str) -> np.ndarray[Any, Any]:
    """Return a parameter as a numpy array on the same memory.

    A torch tensor comes detached, on the CPU and C-contiguous, copied only if it was not; bfloat16 and float8 have the
    dtypes of ml_dtypes. Writing to the array then writes to the tensor.

    Args:
        key: the parameter's name, for the error.

    Raises:
        EncodeError: no array, or one that cannot travel; names the key, the type or dtype, and the remedy.
    Example:
        >>> to_numpy(np.float32(2.0), key="logit_scale").shape
        ()
    """
    kind = type(value)
    try:
        if kind is np.ndarray:
            array: np.ndarray[Any, Any] = value
            dtype_name(array.dtype)
            return array
        if kind is np.memmap or isinstance(value, np.generic):
            dtype_name(value.dtype)
            return np.asarray(value)
        if sys.modules.get("torch"):
            from flare_fobs._torch import TENSOR_TYPES, tensor_to_array

            if kind in TENSOR_TYPES:
                return tensor_to_array(value)
    except EncodeError as error:
        raise EncodeError(f"{key!r}: {error}") from error.__cause__
    raise EncodeError(
        f"{key!r}: a {kind.__module__}.{kind.__qualname__} is no array; give a numpy array or a torch tensor, as in"
        " numpy.asarray(value)"
    )


def to_torch(array: np.ndarray[Any, Any]) -> torch.Tensor:
    """Return a numpy array as a torch tensor on the same memory; imports torch.

    Copied only if torch cannot use the memory: not C-contiguous, read-only, unaligned or big-endian.

    Raises:
        DecodeError: torch has no such dtype; names it.
    """
    from flare_fobs._torch import tensor_from_array

    try:
        name = dtype_name(array.dtype)
    except EncodeError as error:
        raise DecodeError(f"torch cannot hold it: {error}") from error.__cause__
    return tensor_from_array(array, name)

"""Conversions between numpy arrays and torch tensors that share memory."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from flare_fobs.dtypes import dtype_name
from flare_fobs.errors import DecodeError, EncodeError

if TYPE_CHECKING:
    import torch


def to_numpy(value: Any, *, key: str) -> np.ndarray[Any, Any]:
    """Return a parameter as a numpy array that shares its memory.

    A torch tensor is detached, and copied only if it is not on the CPU or not C-contiguous; otherwise, writing to the
    array writes to the tensor. bfloat16 and float8 become the dtypes of ml_dtypes.

    Args:
        key: the parameter's name, for error messages.

    Raises:
        EncodeError: the value is not an array, or cannot be serialized; names the key, the type or dtype, and the
            remedy.
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
        f"{key!r}: a {kind.__module__}.{kind.__qualname__} is not an array; give a numpy array or a torch tensor, as in"
        " numpy.asarray(value)"
    )


def to_torch(array: np.ndarray[Any, Any]) -> torch.Tensor:
    """Return a numpy array as a torch tensor that shares its memory; imports torch.

    It is copied only if torch cannot use its memory: if it is not C-contiguous, or read-only, unaligned or big-endian.

    Raises:
        DecodeError: torch has no such dtype; names it.
    """
    from flare_fobs._torch import tensor_from_array

    try:
        name = dtype_name(array.dtype)
    except EncodeError as error:
        raise DecodeError(f"torch has no such dtype: {error}") from error.__cause__
    return tensor_from_array(array, name)

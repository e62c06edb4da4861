"""Torch tensors; this module imports torch, so it is only imported in processes that have loaded torch.

A tensor is sent as the name of its dtype, its shape and its elements in C order; strides, device, gradients and whether
it was a parameter are not sent. The elements are never converted, so every value arrives bit for bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from msgpack import ExtType

from flare_fobs._arrays import MAX_INLINE_BYTES, Layout, header
from flare_fobs._wire import TENSOR, TENSOR_ASIDE, TENSOR_FRAME, Buffer, Frames, is_set_aside
from flare_fobs.dtypes import PLAIN_NAMES, dtype_from_name
from flare_fobs.errors import DecodeError, EncodeError

TENSOR_TYPES = frozenset((torch.Tensor, torch.nn.Parameter))
"""Subclasses are refused: whatever they add to a tensor would be lost silently."""

# Their bits pass through numpy as integers of the same width, which does not need ml_dtypes.
_CARRIERS: dict[str, tuple[torch.dtype, np.dtype[Any]]] = {
    "bfloat16": (torch.int16, np.dtype(np.int16)),
    "float8_e4m3fn": (torch.uint8, np.dtype(np.uint8)),
    "float8_e4m3fnuz": (torch.uint8, np.dtype(np.uint8)),
    "float8_e5m2": (torch.uint8, np.dtype(np.uint8)),
    "float8_e5m2fnuz": (torch.uint8, np.dtype(np.uint8)),
    "float8_e8m0fnu": (torch.uint8, np.dtype(np.uint8)),
}
# Older releases of torch lack some of these dtypes.
_dtypes: dict[str, torch.dtype] = {
    name: getattr(torch, name) for name in (*PLAIN_NAMES, *_CARRIERS) if hasattr(torch, name)
}
_names: dict[torch.dtype, str] = {dtype: name for name, dtype in _dtypes.items()}


def encode_tensor(tensor: torch.Tensor, frames: Frames) -> Any:
    """Turn a tensor into an extension value; a large one adds its memory to ``frames``, without a copy if possible."""
    name, array = _memory(tensor)
    start = header(name, array.shape)
    if array.nbytes <= MAX_INLINE_BYTES:
        return ExtType(TENSOR, start + array.tobytes())
    memory = array.reshape(-1).view(np.uint8)
    if is_set_aside(memory, frames):
        return ExtType(TENSOR_ASIDE, start)
    frames.append(memory.data)
    return ExtType(TENSOR_FRAME, start)


def decode_tensor(layout: Layout, source: Buffer, start: int) -> torch.Tensor:
    """Return a new tensor with the elements of ``source`` from the byte ``start`` on.

    Raises:
        DecodeError: this release of torch has no such dtype.
    """
    tensor = torch.empty(layout.shape, dtype=_torch_dtype(layout.name), device="cpu")
    carrier = _CARRIERS.get(layout.name)
    if carrier is None:
        tensor.numpy()[...] = np.ndarray(layout.shape, layout.dtype, source, start)
    else:
        tensor.view(carrier[0]).numpy()[...] = np.ndarray(layout.shape, carrier[1], source, start)
    return tensor


def tensor_to_array(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    """Return the tensor as an array that shares its memory; a copy if it is not contiguous on the CPU.

    Raises:
        EncodeError: the tensor has no elements in memory, or a dtype that numpy does not have.
    """
    name, array = _memory(tensor)
    return array.view(dtype_from_name(name)) if name in _CARRIERS else array


def tensor_from_array(array: np.ndarray[Any, Any], name: str) -> torch.Tensor:
    """Return an array of the named dtype as a tensor that shares its memory; a copy if torch cannot use that memory.

    Raises:
        DecodeError: this release of torch has no such dtype.
    """
    dtype = _torch_dtype(name.removeprefix(">"))
    flags = array.flags
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    elif not (flags.c_contiguous and flags.writeable and flags.aligned):
        array = array.copy(order="C")
    carrier = _CARRIERS.get(name)
    return torch.from_numpy(array) if carrier is None else torch.from_numpy(array.view(carrier[1])).view(dtype)


def _memory(tensor: torch.Tensor) -> tuple[str, np.ndarray[Any, Any]]:
    """Return the dtype's name and the elements as a C-contiguous array, of the carrier's dtype where there is one."""
    name = _names.get(tensor.dtype)
    if name is None:
        raise EncodeError(_refusal(tensor))
    if tensor.layout is not torch.strided or tensor.is_nested or tensor.is_meta:
        raise EncodeError(_refusal(tensor))
    plain = tensor.detach().cpu().resolve_conj().resolve_neg()
    carrier = _CARRIERS.get(name)
    array: np.ndarray[Any, Any] = (plain if carrier is None else plain.view(carrier[0])).numpy()
    # ascontiguousarray alone would give a scalar a dimension.
    return name, array if array.flags.c_contiguous else np.ascontiguousarray(array)


def _refusal(tensor: torch.Tensor) -> str:
    if tensor.is_meta:
        return f"a tensor of {tensor.dtype} on the meta device has no values; materialize the module before sending"
    if tensor.layout is not torch.strided:
        return f"a tensor of {tensor.dtype} with layout {tensor.layout} cannot be sent; use tensor.to_dense()"
    if tensor.is_nested:
        return f"a nested tensor of {tensor.dtype} cannot be sent; use the list of its tensors, tensor.unbind()"
    if tensor.is_quantized:
        return f"a quantized tensor of {tensor.dtype} cannot be sent; use tensor.dequantize(), or int_repr() and scale"
    return f"tensors of {tensor.dtype} cannot be sent; use tensor.view(torch.uint8), or convert it to another dtype"


def _torch_dtype(name: str) -> torch.dtype:
    dtype = _dtypes.get(name)
    if dtype is None:
        raise DecodeError(f"torch {torch.__version__} has no dtype {name!r}; upgrade it, or convert the array before")
    return dtype

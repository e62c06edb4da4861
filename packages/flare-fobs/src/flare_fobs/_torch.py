"""Tensors, where torch is already loaded: this module imports torch, and nothing imports this module before torch is.

A tensor travels as its dtype's name, its shape and its elements in C order; strides, device, gradients and whether it
was a parameter stay behind. The elements are never converted, so every value arrives bit for bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from flare_fobs._arrays import MAX_INLINE_BYTES, Layout, header
from flare_fobs._wire import TENSOR, TENSOR_ASIDE, TENSOR_FRAME, Buffer, Frames, ext, is_set_aside
from flare_fobs.dtypes import PLAIN_NAMES, dtype_from_name
from flare_fobs.errors import DecodeError, EncodeError

__all__ = ["TENSOR_TYPES", "decode_tensor", "encode_tensor", "tensor_from_array", "tensor_to_array"]

TENSOR_TYPES = frozenset((torch.Tensor, torch.nn.Parameter))
"""Subclasses are refused: what they add to a tensor, or put in its place, would be lost without a word."""

# numpy holds these as integers of their width where it must not need ml_dtypes.
_CARRIERS: dict[str, tuple[torch.dtype, np.dtype[Any]]] = {
    "bfloat16": (torch.int16, np.dtype(np.int16)),
    "float8_e4m3fn": (torch.uint8, np.dtype(np.uint8)),
    "float8_e4m3fnuz": (torch.uint8, np.dtype(np.uint8)),
    "float8_e5m2": (torch.uint8, np.dtype(np.uint8)),
    "float8_e5m2fnuz": (torch.uint8, np.dtype(np.uint8)),
    "float8_e8m0fnu": (torch.uint8, np.dtype(np.uint8)),
}
# Older releases of torch lack some of them.
_dtypes: dict[str, torch.dtype] = {
    name: getattr(torch, name) for name in (*PLAIN_NAMES, *_CARRIERS) if hasattr(torch, name)
}
_names: dict[torch.dtype, str] = {dtype: name for name, dtype in _dtypes.items()}


def encode_tensor(tensor: torch.Tensor, frames: Frames) -> Any:
    """Turn a tensor into an extension value; a large one adds its memory to ``frames``, uncopied if it can be."""
    name, array = _memory(tensor)
    start = header(name, array.shape)
    if array.nbytes <= MAX_INLINE_BYTES:
        return ext(TENSOR, start + array.tobytes())
    memory = array.reshape(-1).view(np.uint8)
    if is_set_aside(memory, frames):
        return ext(TENSOR_ASIDE, start)
    frames.append(memory.data)
    return ext(TENSOR_FRAME, start)


def decode_tensor(said: Layout, source: Buffer, start: int) -> torch.Tensor:
    """Make a tensor with memory of its own from the elements that begin at ``start``.

    Raises:
        DecodeError: this torch has no such dtype.
    """
    tensor = torch.empty(said.shape, dtype=_torch_dtype(said.name), device="cpu")
    carrier = _CARRIERS.get(said.name)
    if carrier is None:
        tensor.numpy()[...] = np.ndarray(said.shape, said.dtype, source, start)
    else:
        tensor.view(carrier[0]).numpy()[...] = np.ndarray(said.shape, carrier[1], source, start)
    return tensor


def tensor_to_array(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    """Return the tensor as an array on the same memory; a copy if it is not contiguous on the CPU.

    Raises:
        EncodeError: the tensor has no elements in memory, or a dtype that numpy cannot hold.
    """
    name, array = _memory(tensor)
    return array.view(dtype_from_name(name)) if name in _CARRIERS else array


def tensor_from_array(array: np.ndarray[Any, Any], name: str) -> torch.Tensor:
    """Return an array of the named dtype as a tensor on the same memory; a copy if torch cannot use that memory.

    Raises:
        DecodeError: torch has no such dtype.
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
    try:  # the usual case, told faster; torch refuses all that must be looked at more closely
        array: np.ndarray[Any, Any] = tensor.detach().numpy()
    except (TypeError, RuntimeError):
        array = _carried(tensor, name)
    # Not ascontiguousarray alone: it gives a scalar a dimension.
    return name, array if array.flags.c_contiguous else np.ascontiguousarray(array)


def _carried(tensor: torch.Tensor, name: str) -> np.ndarray[Any, Any]:
    """The elements of a tensor that torch does not give numpy as it is: on a device, conjugated, of another dtype."""
    if tensor.layout is not torch.strided or tensor.is_nested or tensor.is_meta:
        raise EncodeError(_refusal(tensor))
    plain = tensor.detach()
    if not plain.is_cpu:
        plain = plain.cpu()
    if plain.is_conj() or plain.is_neg():
        plain = plain.resolve_conj().resolve_neg()
    carrier = _CARRIERS.get(name)
    array: np.ndarray[Any, Any] = (plain if carrier is None else plain.view(carrier[0])).numpy()
    return array


def _refusal(tensor: torch.Tensor) -> str:
    if tensor.is_meta:
        return f"a tensor of {tensor.dtype} on the meta device has no values; materialize the module before sending"
    if tensor.layout is not torch.strided:
        return f"a tensor of {tensor.dtype} with layout {tensor.layout} cannot travel; send tensor.to_dense()"
    if tensor.is_nested:
        return f"a nested tensor of {tensor.dtype} cannot travel; send the list of its tensors, tensor.unbind()"
    if tensor.is_quantized:
        return f"a quantized tensor of {tensor.dtype} cannot travel; send tensor.dequantize(), or int_repr() and scale"
    return f"tensors of {tensor.dtype} cannot travel; send tensor.view(torch.uint8), or convert it to another dtype"


def _torch_dtype(name: str) -> torch.dtype:
    dtype = _dtypes.get(name)
    if dtype is None:
        raise DecodeError(f"torch {torch.__version__} has no dtype {name!r}; upgrade it, or convert the array before")
    return dtype

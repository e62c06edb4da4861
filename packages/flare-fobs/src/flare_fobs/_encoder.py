"""Objects to frames: msgpack packs what it knows and asks here, once for each object, about everything else."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from flare_fobs import _builtins  # noqa: F401 - fills the table of types
from flare_fobs._arrays import encode_scalar
from flare_fobs._limits import Limits, check_items, check_size_and_depth
from flare_fobs._registry import encoders, refuse_unregistered
from flare_fobs._trace import explained
from flare_fobs._wire import Frames, FramesWithout, Packer, SetAside
from flare_fobs.errors import EncodeError

__all__ = ["encode"]

_MAX_KEPT_BYTES = 2**20


class _Encoder:
    """A packer and the frames of the message that it is packing."""

    __slots__ = ("frames", "pack")

    def __init__(self) -> None:
        self.frames: Frames = []
        self.pack: Callable[[Any], bytes] = Packer(default=self._state, strict_types=True).pack

    def _state(self, value: Any) -> Any:
        kind = type(value)
        return (encoders.get(kind) or encoder_of(kind))(value, self.frames)


# A packer owns a large buffer, so it is used again; taken and given back whole, it serves one message at a time, even
# where an encode function serializes something of its own.
_idle: list[_Encoder] = []


def encode(value: Any, limits: Limits, set_aside: SetAside | None = None) -> Frames:
    """Return the metadata and, uncopied, the memory of the large arrays in ``value``.

    Args:
        value: what is to be sent.
        limits: what the receiver accepts.
        set_aside: may take large arrays out of the message.

    Raises:
        EncodeError: names the path to what cannot travel.
        LimitError: likewise, where the path can be told.
    """
    try:
        encoder = _idle.pop()
    except IndexError:
        encoder = _Encoder()
    frames = encoder.frames = [b""] if set_aside is None else FramesWithout(set_aside)
    try:
        metadata = encoder.pack(value)
        check_size_and_depth(metadata, limits)
        check_items(metadata, limits)
    except Exception as error:
        raise explained(value, error, limits, encoder_of) from (
            error.__cause__ if isinstance(error, EncodeError) else error
        )
    finally:
        encoder.frames = []
    if len(metadata) <= _MAX_KEPT_BYTES:  # the packer's buffer never shrinks
        _idle.append(encoder)
    frames[0] = metadata
    return frames


def encoder_of(kind: type) -> Callable[[Any, Frames], Any]:
    """Find the function that encodes objects of exactly this type.

    Raises:
        EncodeError: there is none; says what to do.
    """
    known = encoders.get(kind)
    if known is not None:
        return known
    if issubclass(kind, np.generic) and kind.__module__ == "ml_dtypes":
        encoders[kind] = encode_scalar
        return encode_scalar
    # Never imported for its own sake: where torch is not loaded, there are no tensors.
    if sys.modules.get("torch"):
        from flare_fobs._torch import TENSOR_TYPES, encode_tensor

        if kind in TENSOR_TYPES:
            encoders[kind] = encode_tensor
            return encode_tensor
    if issubclass(kind, np.ndarray):
        raise EncodeError(
            f"{kind.__module__}.{kind.__qualname__} would arrive as a plain array; convert it with numpy.asarray(…),"
            " a masked array with .filled(…)"
        )
    raise refuse_unregistered(kind)

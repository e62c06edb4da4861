"""Objects to frames: msgpack packs the types that it knows, and calls back here for every other object."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from msgpack import Packer

from flare_fobs import _builtins  # noqa: F401 - registers the built-in types
from flare_fobs._arrays import encode_scalar
from flare_fobs._limits import check_metadata
from flare_fobs._registry import encoders, refuse_unregistered
from flare_fobs._trace import error_with_path
from flare_fobs._wire import Frames, FramesWithout, SetAside
from flare_fobs.errors import EncodeError

_BUFFER_BYTES = 1 << 16  # grows as needed; the allocator returns larger ones to the system after each message


def encode(value: Any, set_aside: SetAside | None = None) -> Frames:
    """Return the metadata, and the memory of each large array in ``value`` without copying it.

    Args:
        value: what is to be sent.
        set_aside: may take large arrays out of the message.

    Raises:
        EncodeError: something cannot be serialized; names the path to it.
        LimitError: likewise; names the path if there is one.
    """
    frames: Frames = [b""] if set_aside is None else FramesWithout(set_aside)
    packer = Packer(default=partial(_encoded, frames=frames), strict_types=True, buf_size=_BUFFER_BYTES)
    try:
        metadata = packer.pack(value)
        check_metadata(metadata)
    except Exception as error:
        raise error_with_path(value, error, encoder_of) from (
            error.__cause__ if isinstance(error, EncodeError) else error
        )
    frames[0] = metadata
    return frames


def _encoded(value: Any, frames: Frames) -> Any:
    return encoder_of(type(value))(value, frames)


def encoder_of(kind: type) -> Callable[[Any, Frames], Any]:
    """Find the function that encodes objects of exactly this type.

    Raises:
        EncodeError: there is none; says how to register the type, or what to convert it to.
    """
    known = encoders.get(kind)
    if known is not None:
        return known
    if issubclass(kind, np.generic) and kind.__module__ == "ml_dtypes":
        encoders[kind] = encode_scalar
        return encode_scalar
    # Where torch is not loaded there are no tensors, so torch is never imported for them.
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

"""The four functions that write and read messages.

A message is a list of frames. Frame 0 is the metadata: one msgpack value. Each further frame is the memory of one
array, in the order in which the metadata refers to them; each is referred to exactly once.

docs/wire.md, section 5, describes every byte: the extension codes of ``_wire``, the states of the registered types, and
how ``dumps`` joins the frames into one string of bytes. A payload never names a module, and never causes an import.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from flare_fobs._decoder import decode
from flare_fobs._encoder import encode
from flare_fobs._wire import Buffer, Frames, SetAside
from flare_fobs.errors import DecodeError

_MAGIC = b"FOBS"
_VERSION = 1
_START = struct.Struct("<4sB3xQ")
_LENGTH = struct.Struct("<Q")
_ALIGNMENT = 64


def dump_frames(obj: Any, *, set_aside: SetAside | None = None) -> Frames:
    """Serialize an object without copying its large arrays.

    Args:
        obj: numbers, strings, bytes, lists, dicts, arrays and registered types, nested in any way; it is not changed.
        set_aside: called with the memory of each array above 4 KiB, as a flat array of bytes. An array for which it
            returns true is left out of the frames; the receiver gives it to :func:`load_frames`.
    Returns:
        The metadata, then one buffer for each array above 4 KiB: the array's own memory if it is C-contiguous, so the
        array must not change until the frames were sent.
    Raises:
        EncodeError: something cannot be serialized; names the path to it, as in ``meta['x'][3].field``.
        LimitError: the message exceeds a limit.
    """
    return encode(obj, set_aside)


def load_frames(frames: Sequence[Buffer], *, asides: Iterable[np.ndarray[Any, Any]] = ()) -> Any:
    """Rebuild the object of :func:`dump_frames`; safe for untrusted frames.

    A large numpy array is a view of its frame: writable if the frame is, and it keeps the frame alive. Small arrays and
    all tensors own their memory and are writable.

    Args:
        frames: the metadata, then the memory of arrays.
        asides: the arrays that were set aside, in the order in which they were; the object's arrays lie in their
            memory.
    Raises:
        DecodeError: the frames are not a valid message, or hold a type that is not registered in this process.
        LimitError: the message exceeds a limit.
    """
    return decode(frames, copy=False, asides=asides)


def dumps(obj: Any) -> bytes:
    """Serialize an object into one string of bytes; copies each array once. Arguments and errors: :func:`dump_frames`.

    Example:
        >>> loads(dumps({"round": 3, "shape": (2, 5)}))
        {'round': 3, 'shape': (2, 5)}
    """
    frames = encode(obj)
    pieces: Frames = [_START.pack(_MAGIC, _VERSION, len(frames))]
    for frame in frames:
        pieces.append(_LENGTH.pack(len(frame)))
    end = _START.size + 8 * len(frames)
    for frame in frames:
        if frame is not frames[0]:
            gap = -end % _ALIGNMENT
            pieces.append(bytes(gap))
            end += gap
        pieces.append(frame)
        end += len(frame)
    return b"".join(pieces)


def loads(data: Buffer) -> Any:
    """Rebuild the object of :func:`dumps`; safe for untrusted bytes.

    Every array owns its memory and is writable; ``data`` can be discarded.

    Raises:
        DecodeError: the bytes are not a valid message, or hold a type that is not registered in this process.
        LimitError: the message exceeds a limit.
    """
    return decode(_split(data), copy=True)


def _split(data: Buffer) -> list[memoryview]:
    view = memoryview(data)
    if not view.c_contiguous:
        raise DecodeError("the message is not contiguous; give bytes, or a contiguous memoryview")
    view = view.cast("B")
    magic, version, count = _START.unpack_from(view) if len(view) >= _START.size else (b"", 0, 0)
    if magic != _MAGIC:
        raise DecodeError(f"{len(view)} bytes that do not begin with {_MAGIC!r}: not made by flare_fobs.dumps")
    if version != _VERSION:
        raise DecodeError(f"format version {version}, this release reads version {_VERSION}; upgrade the older side")
    end = _START.size + 8 * count
    if count < 1 or end > len(view):
        raise DecodeError(f"a message of {len(view)} bytes cannot have {count} frames; it was cut off or damaged")
    frames = []
    for index, (length,) in enumerate(_LENGTH.iter_unpack(view[_START.size : end])):
        start = end + -end % _ALIGNMENT if index else end
        end = start + length
        frames.append(view[start:end])
    if end != len(view):
        raise DecodeError(f"the message has {len(view)} bytes and says that it has {end}; it was cut off or damaged")
    return frames

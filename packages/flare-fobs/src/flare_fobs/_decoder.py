"""Frames to objects, for untrusted bytes: the result is a value or a FobsError.

msgpack reads without recursion and calls back for inner values first. The name of a type becomes its registry entry,
and a list that begins with such an entry becomes the object.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from flare_fobs import _builtins  # noqa: F401 - registers the built-in types
from flare_fobs._arrays import layout
from flare_fobs._limits import Limits, check_size_and_depth, decode_error, too_many
from flare_fobs._registry import Decomposer, by_name
from flare_fobs._wire import ARRAY_FRAME, HEAD, INTEGER, IS_PURE_PYTHON, SCALAR, TENSOR, TENSOR_FRAME, Buffer, unpackb
from flare_fobs.errors import DecodeError, FobsError

__all__ = ["decode"]


def decode(frames: Sequence[Buffer], limits: Limits, *, copy: bool) -> Any:
    """Rebuild the object; its large numpy arrays are views of the frames, or copies.

    Raises:
        DecodeError: the frames are not a valid message, or hold a type that is not registered here.
        LimitError: the message exceeds ``limits``.
    """
    try:
        metadata = frames[0]
        if type(metadata) is not bytes:
            metadata = bytes(metadata)
        check_size_and_depth(metadata, limits)
        return _Decoder(frames, limits, copy).decode(metadata)
    except FobsError:
        raise
    # msgpack, numpy, constructors and registered functions may raise any exception for such bytes.
    except Exception as error:
        raise decode_error(error, limits) from error


class _Decoder:
    """Decodes one message."""

    __slots__ = ("_containers", "_copy", "_frames", "_heads", "_limits", "_used", "_values")

    def __init__(self, frames: Sequence[Buffer], limits: Limits, copy: bool) -> None:
        self._frames = frames
        self._limits = limits
        self._copy = copy
        self._used = 1
        self._heads = 0
        self._containers = 0
        self._values = 0

    def decode(self, metadata: bytes) -> Any:
        size, limit = len(metadata), self._limits.max_items
        most = min(size, limit)
        counts = size > limit  # every value takes at least a byte, so a smaller message cannot hold too many
        value = unpackb(
            metadata,
            strict_map_key=False,
            timestamp=3,
            ext_hook=self._extension,
            list_hook=self._counted_list if counts else self._list,
            object_hook=self._counted if counts and not IS_PURE_PYTHON else None,
            object_pairs_hook=self._map if IS_PURE_PYTHON else None,
            max_array_len=most,
            max_map_len=most,
        )
        if self._heads:
            raise DecodeError("the name of a type is not at the beginning of an object")
        if self._used != len(self._frames):
            raise DecodeError(f"only {self._used} of {len(self._frames)} frames are referred to by the message")
        return value

    def _list(self, items: list[Any]) -> Any:
        if not items:
            return items
        decomposer = items[0]
        if type(decomposer) is not Decomposer:
            return items
        self._heads -= 1
        del items[0]
        return decomposer.decode(items)

    def _counted_list(self, items: list[Any]) -> Any:
        return self._list(self._counted(items))

    def _counted(self, container: Any) -> Any:
        self._containers += 1
        self._values += len(container)
        if self._containers > self._limits.max_items or self._values > self._limits.max_items:
            raise too_many(self._limits)
        return container

    def _map(self, pairs: Iterable[tuple[Any, Any]]) -> Any:
        """Build a dict; pure-Python msgpack would intern the keys, which fails for members of a StrEnum."""
        return self._counted(dict(pairs))

    def _extension(self, code: int, data: bytes) -> Any:
        if code == HEAD:
            decomposer = by_name.get(data)
            if decomposer is None:
                raise DecodeError(
                    f"the type {data.decode(errors='replace')!r:.80} is not registered here; import the module that"
                    " registers it before receiving, on this side too"
                )
            self._heads += 1
            return decomposer
        if code == INTEGER:
            return int.from_bytes(data, "little", signed=True)
        if not SCALAR <= code <= TENSOR_FRAME:
            raise DecodeError(f"unknown extension {code}; the sender runs a newer version")
        return self._array(code, data)

    def _array(self, code: int, data: bytes) -> Any:
        described = layout(data)
        start = int.from_bytes(data[:2], "little")
        source: Buffer = data
        if code in (ARRAY_FRAME, TENSOR_FRAME):
            if start != len(data):
                raise DecodeError(f"{len(data) - start} bytes follow the header of an array that is in a frame")
            source, start = self._next_frame(), 0
        if len(source) - start != described.nbytes:
            raise DecodeError(
                f"an array of {described.name} with shape {described.shape!r:.80} has {described.nbytes} bytes,"
                f" the message holds {len(source) - start}"
            )
        if code in (TENSOR, TENSOR_FRAME) and sys.modules.get("torch"):
            from flare_fobs._torch import decode_tensor

            return decode_tensor(described, source, start)
        if source is not data and not self._copy:
            # Unlike numpy.ndarray(…, buffer), this keeps the frame from being resized under the array.
            return np.frombuffer(source, np.uint8).view(described.dtype).reshape(described.shape)
        array: np.ndarray[Any, Any] = np.ndarray(described.shape, described.dtype, source, start)
        if code == SCALAR:
            if described.shape:
                raise DecodeError(f"a scalar with shape {described.shape!r:.80}")
            return array[()]
        return array.copy()

    def _next_frame(self) -> memoryview:
        if self._used >= len(self._frames):
            raise DecodeError(f"an array is in frame {self._used}, the message has {len(self._frames)} frames")
        frame = memoryview(self._frames[self._used])
        self._used += 1
        if not frame.c_contiguous:
            raise DecodeError(f"frame {self._used - 1} is not contiguous; give bytes, or a contiguous memoryview")
        return frame if frame.format == "B" and frame.ndim == 1 else frame.cast("B")

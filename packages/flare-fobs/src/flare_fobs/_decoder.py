"""Frames to objects, for untrusted bytes: the result is a value or a FobsError.

msgpack reads without recursion and calls back for inner values first. The name of a type becomes its registry entry,
and a list that begins with such an entry becomes the object.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from msgpack import unpackb

from flare_fobs import _builtins  # noqa: F401 - registers the built-in types
from flare_fobs._arrays import layout
from flare_fobs._limits import MAX_ITEMS, check_metadata, decode_error
from flare_fobs._registry import Decomposer, by_name
from flare_fobs._wire import (
    ARRAY_ASIDE,
    ARRAY_FRAME,
    HEAD,
    INTEGER,
    SCALAR,
    TENSOR,
    TENSOR_ASIDE,
    TENSOR_FRAME,
    Buffer,
)
from flare_fobs.errors import DecodeError, FobsError


def decode(frames: Sequence[Buffer], *, copy: bool, asides: Iterable[np.ndarray[Any, Any]] = ()) -> Any:
    """Rebuild the object; its large numpy arrays are views of the frames, or copies.

    Raises:
        DecodeError: the frames are not a valid message, or hold a type that is not registered here.
        LimitError: the message exceeds a limit.
    """
    try:
        metadata = frames[0]
        if type(metadata) is not bytes:
            metadata = bytes(metadata)
        check_metadata(metadata)
        return _Decoder(frames, copy, iter(asides)).decode(metadata)
    except FobsError:
        raise
    # msgpack, numpy, constructors and registered functions may raise any exception for such bytes.
    except Exception as error:
        raise decode_error(error) from error


class _Decoder:
    """Decodes one message."""

    __slots__ = ("_asides", "_copy", "_frames", "_heads", "_used")

    def __init__(self, frames: Sequence[Buffer], copy: bool, asides: Iterator[np.ndarray[Any, Any]]) -> None:
        self._asides = asides
        self._frames = frames
        self._copy = copy
        self._used = 1
        self._heads = 0

    def decode(self, metadata: bytes) -> Any:
        most = min(len(metadata), MAX_ITEMS)  # every value takes at least a byte
        value = unpackb(
            metadata,
            strict_map_key=False,
            timestamp=3,
            ext_hook=self._extension,
            list_hook=self._list,
            max_array_len=most,
            max_map_len=most,
        )
        if self._heads:
            raise DecodeError("the name of a type is not at the beginning of an object")
        if self._used != len(self._frames):
            raise DecodeError(f"only {self._used} of {len(self._frames)} frames are referred to by the message")
        if next(self._asides, None) is not None:
            raise DecodeError("more arrays came beside the message than it mentions")
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
        if not SCALAR <= code <= TENSOR_ASIDE:
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
        elif code in (ARRAY_ASIDE, TENSOR_ASIDE):
            source, start = self._next_aside(len(data) - start), 0
        if len(source) - start != described.nbytes:
            raise DecodeError(
                f"an array of {described.name} with shape {described.shape!r:.80} has {described.nbytes} bytes,"
                f" the message holds {len(source) - start}"
            )
        if code in (TENSOR, TENSOR_FRAME, TENSOR_ASIDE) and sys.modules.get("torch"):
            from flare_fobs._torch import decode_tensor

            return decode_tensor(described, source, start)
        if source is not data and (code in (ARRAY_ASIDE, TENSOR_ASIDE) or not self._copy):
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

    def _next_aside(self, following: int) -> memoryview:
        if following:
            raise DecodeError(f"{following} bytes follow the header of an array that is not in the message")
        aside = next(self._asides, None)
        if aside is None:
            raise DecodeError("the message mentions an array that did not come with it")
        return aside.reshape(-1).view(np.uint8).data

"""The parts of msgpack that the format uses, and its own extension codes; docs/wire.md describes the whole layout."""

from __future__ import annotations

from typing import TypeAlias

from msgpack import ExtType, OutOfData, Packer, StackError, Unpacker, unpackb

__all__ = ["Buffer", "ExtType", "Frames", "OutOfData", "Packer", "StackError", "Unpacker", "unpackb"]

Buffer: TypeAlias = bytes | bytearray | memoryview
Frames: TypeAlias = list[bytes | memoryview]

# msgpack falls back to it where its C code is missing; it is slow and recursive.
IS_PURE_PYTHON = Unpacker.__module__.endswith("fallback")

HEAD = 1
INTEGER = 2
SCALAR = 3
ARRAY = 4
ARRAY_FRAME = 5
TENSOR = 6
TENSOR_FRAME = 7

"""What the format borrows from msgpack, and the extension codes it adds; docs/wire.md describes the whole layout."""

from __future__ import annotations

from typing import Any, TypeAlias

from msgpack import ExtType, OutOfData, Packer, StackError, Unpacker, unpackb

__all__ = ["Buffer", "ExtType", "Frames", "OutOfData", "Packer", "StackError", "Unpacker", "ext", "unpackb"]

Buffer: TypeAlias = bytes | bytearray | memoryview
Frames: TypeAlias = list[bytes | memoryview]

# Chosen by msgpack where its C code is missing. Slow, recursive, and only used here so that all still works.
IS_PURE_PYTHON = Unpacker.__module__.endswith("fallback")

HEAD = 1
INTEGER = 2
SCALAR = 3
ARRAY = 4
ARRAY_FRAME = 5
TENSOR = 6
TENSOR_FRAME = 7


def ext(code: int, data: bytes) -> Any:
    """Make an extension value; skips the checks of ``ExtType(code, data)``, which cost more than packing it."""
    return tuple.__new__(ExtType, (code, data))

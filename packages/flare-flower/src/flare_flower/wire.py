"""Reads single fields of serialized protobuf messages, to see how a run is doing; nothing is ever written.

Layout: a message is a sequence of fields, each a varint ``number << 3 | kind`` and a value: kind 0 a varint, kind 1
eight bytes, kind 2 a varint of a length and so many bytes, kind 5 four bytes. Fields of unknown numbers are skipped,
so messages may gain some.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TypeAlias

Value: TypeAlias = int | bytes


def fields(data: bytes) -> Iterator[tuple[int, Value]]:
    """Yield the number and value of each field: an integer for a varint, else bytes.

    Raises:
        ValueError: the data are no protobuf message.
    """
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == 2:
            length, at = _varint(data, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"field {number} has the kind {kind}")
        if at + length > len(data):
            raise ValueError(f"field {number} is cut short")
        yield number, data[at : at + length]
        at += length


def parts(data: bytes, number: int) -> list[bytes]:
    """Return all values of a field of bytes, text or messages."""
    return [value for each, value in fields(data) if each == number and isinstance(value, bytes)]


def part(data: bytes, number: int) -> bytes:
    """Return the last value of a field of bytes, text or a message; empty if there is none."""
    return next(reversed(parts(data, number)), b"")


def text(data: bytes, number: int) -> str:
    """Return the value of a field of text; empty if there is none."""
    return part(data, number).decode(errors="replace")


def number_of(data: bytes, number: int) -> int:
    """Return the value of a varint field; 0 if there is none."""
    return next((value for each, value in fields(data) if each == number and isinstance(value, int)), 0)


def metrics(data: bytes) -> dict[str, float]:
    """Return the numbers of a serialized ``MetricRecord``, without its lists."""
    found = {}
    for item in parts(data, 1):
        for number, value in fields(part(item, 2)):
            if number == 1 and isinstance(value, bytes):
                found[text(item, 1)] = float(struct.unpack("<d", value)[0])
            elif number == 2 and isinstance(value, int):  # zigzag
                found[text(item, 1)] = float(value >> 1 ^ -(value & 1))
            elif number == 3 and isinstance(value, int):
                found[text(item, 1)] = float(value)
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("a number is cut short")
        byte = data[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return result, at
        shift += 7

"""Universal Binary JSON as XGBoost writes and reads it, and JSON text of the same trees of values.

Values are dicts with text keys, lists, text, booleans, None, integers, floats, and NumPy arrays of one dimension.
"""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np

from flare_core import ModelError

_TYPES = {"f4": b"d", "f8": b"D", "i1": b"i", "u1": b"U", "i2": b"I", "i4": b"l", "i8": b"L"}
_DTYPES = {mark[0]: ">" + code for code, mark in _TYPES.items()}
_LIMITS = ((b"i", "b", 1 << 7), (b"I", ">h", 1 << 15), (b"l", ">i", 1 << 31), (b"L", ">q", 1 << 63))
_NUMBERS = {
    ord("i"): ">b",
    ord("U"): ">B",
    ord("I"): ">h",
    ord("l"): ">i",
    ord("L"): ">q",
    ord("d"): ">f",
    ord("D"): ">d",
}


def dump_json(value: Any) -> bytes:
    """Return JSON text; float32 numbers have the fewest digits that tell them apart."""
    return _text(value).encode()


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{_quoted(key)}:{_text(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return "[" + ",".join(_number(one) for one in value) + "]"
    if isinstance(value, np.ndarray):
        return "[" + ",".join(str(int(one)) for one in value) + "]"
    if isinstance(value, list | tuple):
        return "[" + ",".join(_text(one) for one in value) + "]"
    return _number(value) if isinstance(value, float | np.floating) else _quoted(value)


def _quoted(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)  # XGBoost does not read \u escapes


def _number(value: Any) -> str:
    if np.isfinite(value):
        return str(value)
    return "NaN" if np.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def load_json(data: bytes) -> Any:
    """Return the value of JSON text.

    Raises:
        ModelError: the text is no JSON.
    """
    try:
        return json.loads(data)
    except ValueError as error:
        raise ModelError(f"this is no JSON: {error}") from error


def dump_ubj(value: Any) -> bytes:
    """Return Universal Binary JSON."""
    out = bytearray()
    _write(value, out)
    return bytes(out)


def _write(value: Any, out: bytearray) -> None:
    if isinstance(value, dict):
        out += b"{"
        for key in sorted(value):
            _write_text(key, out)
            _write(value[key], out)
        out += b"}"
    elif isinstance(value, np.ndarray):
        code = "u1" if value.dtype.kind == "b" else value.dtype.str[1:]
        out += b"[$" + _TYPES[code] + b"#L" + struct.pack(">q", len(value)) + value.astype(">" + code).tobytes()
    elif isinstance(value, list | tuple):
        out += b"[#L" + struct.pack(">q", len(value))
        for one in value:
            _write(one, out)
    elif isinstance(value, str):
        out += b"S"
        _write_text(value, out)
    elif value is None:
        out += b"Z"
    elif isinstance(value, bool):
        out += b"T" if value else b"F"
    elif isinstance(value, int):
        mark, form, _ = next(one for one in _LIMITS if -one[2] <= value < one[2])
        out += mark + struct.pack(form, value)
    else:
        out += b"d" + struct.pack(">f", value)


def _write_text(text: str, out: bytearray) -> None:
    data = text.encode()
    out += b"L" + struct.pack(">q", len(data)) + data


def load_ubj(data: bytes) -> Any:
    """Return the value of Universal Binary JSON; typed arrays become NumPy's.

    Raises:
        ModelError: the bytes are none, or end too early.
    """
    try:
        return _Reader(data).value()
    except (struct.error, IndexError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise ModelError(f"this is no Universal Binary JSON: {error}") from error


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def value(self, mark: int | None = None) -> Any:
        mark = self._next() if mark is None else mark
        if mark == ord("{"):
            found = {}
            while self._data[self._at] != ord("}"):
                key = self._text()
                found[key] = self.value()
            self._at += 1
            return found
        if mark == ord("["):
            return self._array()
        if mark == ord("S"):
            return self._text()
        if mark in b"ZTF":
            return {ord("Z"): None, ord("T"): True, ord("F"): False}[mark]
        return self._number(mark)

    def _next(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def _number(self, mark: int) -> Any:
        if mark not in _NUMBERS:
            raise ValueError(f"unknown mark {chr(mark)!r} at byte {self._at - 1}")
        form = _NUMBERS[mark]
        (number,) = struct.unpack_from(form, self._data, self._at)
        self._at += struct.calcsize(form)
        return number

    def _take(self, size: int) -> bytes:
        if size < 0 or self._at + size > len(self._data):
            raise ValueError(f"{size} bytes are announced at byte {self._at}, {len(self._data) - self._at} are left")
        self._at += size
        return self._data[self._at - size : self._at]

    def _text(self) -> str:
        return self._take(self._number(self._next())).decode()

    def _array(self) -> Any:
        kind = None
        if self._data[self._at] == ord("$"):
            self._at += 1
            kind = self._next()
        if self._data[self._at] != ord("#"):
            found = []
            while self._data[self._at] != ord("]"):
                found.append(self.value())
            self._at += 1
            return found
        self._at += 1
        length = self._number(self._next())
        if kind is None:
            return [self.value() for _ in range(length)]
        if kind not in _DTYPES:
            return [self.value(kind) for _ in range(length)]
        dtype = np.dtype(_DTYPES[kind])
        return np.frombuffer(self._take(length * dtype.itemsize), dtype).astype(dtype.newbyteorder("="))

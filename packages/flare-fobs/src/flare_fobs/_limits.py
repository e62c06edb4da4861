"""Limits of size, depth and number of items, which are checked before any object is built from a message.

A message of a few bytes can claim any nesting, so the depth is checked on the packed bytes: msgpack's C unpacker walks
them without building objects, and allows at most ``_STACK`` open containers. After a prefix of ``_STACK - max_depth``
open containers it therefore refuses exactly the messages that are deeper than ``max_depth``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from flare_fobs._wire import IS_PURE_PYTHON, OutOfData, StackError, Unpacker, unpackb
from flare_fobs.errors import DecodeError, LimitError

__all__ = ["DEFAULT_LIMITS", "Limits", "check_items", "check_size_and_depth", "decode_error", "too_many"]

_STACK = 1024
_MAX_DEPTH = 500  # every release of msgpack can pack this much
_OPENS_CONTAINER = bytes([*range(0x80, 0xA0), 0xDC, 0xDD, 0xDE, 0xDF])
_OPENS_NO_CONTAINER = bytes(set(range(256)) - {*_OPENS_CONTAINER})


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a message; senders and receivers have the same defaults.

    They bound the memory that decoding hostile metadata can take: about 100 bytes for each item, or 35 bytes for each
    byte of metadata, whichever is more.

    Args:
        max_bytes: size of the metadata, including small arrays. Larger arrays are outside of it and are limited only
            by the frames that actually arrived.
        max_depth: nesting depth of containers and registered objects, at most 500.
        max_items: number of containers, and number of values in containers, each on its own.
    """

    max_bytes: int = 64 * 2**20
    max_depth: int = 64
    max_items: int = 1_000_000

    def __post_init__(self) -> None:
        for name in ("max_bytes", "max_depth", "max_items"):
            if getattr(self, name) < 1:
                raise LimitError(f"Limits.{name} is {getattr(self, name)!r}; give a number of at least 1")
        if self.max_depth > _MAX_DEPTH:
            raise LimitError(f"Limits.max_depth is {self.max_depth}; the maximum is {_MAX_DEPTH}")


DEFAULT_LIMITS = Limits()


def check_size_and_depth(metadata: bytes, limits: Limits) -> None:
    """Refuse metadata that is too large or too deep, without building objects.

    Raises:
        LimitError: the metadata is too large or too deep.
        DecodeError: the metadata ends too early; only detected if the depth has to be measured.
    """
    if len(metadata) > limits.max_bytes:
        raise LimitError(
            f"the metadata has {len(metadata)} bytes, the limit is {limits.max_bytes}; put large bytes and long lists"
            " of numbers into numpy arrays, which are sent outside of it, or raise Limits.max_bytes on both sides"
        )
    # Bytes of text and numbers are counted as well, so this can only overestimate the depth.
    if len(metadata.translate(None, _OPENS_NO_CONTAINER)) > limits.max_depth and _is_deeper(metadata, limits):
        raise LimitError(
            f"nested deeper than {limits.max_depth} levels; flatten it, or raise Limits.max_depth on both sides"
        )


def check_items(metadata: bytes, limits: Limits) -> None:
    """Refuse metadata with too many containers or values; it is only read if it is large enough to hold them.

    Raises:
        LimitError: the metadata holds too many.
    """
    if len(metadata) > limits.max_items:
        _Measure(limits).count(metadata)


def decode_error(error: Exception, limits: Limits) -> DecodeError:
    """Return the error for a foreign exception that was raised while bytes were decoded."""
    text = f"{error!s:.200}"
    if f"exceeds max_array_len({limits.max_items})" in text or f"exceeds max_map_len({limits.max_items})" in text:
        return too_many(limits)
    return DecodeError(f"not a valid message: {type(error).__name__}: {text}")


def too_many(limits: Limits) -> LimitError:
    """Return the error for more than ``max_items`` values or containers."""
    return LimitError(
        f"more than {limits.max_items} values or containers; put numbers into a numpy array, or raise Limits.max_items"
        " on both sides"
    )


def _is_deeper(metadata: bytes, limits: Limits) -> bool:
    if not _has_known_stack():
        return _Measure(limits).depth(metadata) > limits.max_depth
    try:
        end = _skip(b"\x91" * (_STACK - limits.max_depth) + metadata)
    except StackError:
        return True
    except OutOfData:
        raise DecodeError("the metadata ends too early; the message is truncated") from None
    if end != _STACK - limits.max_depth + len(metadata):
        raise DecodeError("there is data after the end of the metadata; two messages were joined, or this is none")
    return False


def _skip(data: bytes) -> int:
    unpacker = Unpacker(read_size=len(data), max_buffer_size=len(data))
    unpacker.feed(data)
    unpacker.skip()
    return int(unpacker.tell())


@cache
def _has_known_stack() -> bool:
    """Return whether msgpack's unpacker has a stack of ``_STACK``; the pure-Python one recurses instead."""
    if IS_PURE_PYTHON:
        return False
    _skip(b"\x91" * _STACK + b"\xc0")
    try:
        _skip(b"\x91" * (_STACK + 1) + b"\xc0")
    except StackError:
        return True
    return False


class _Level(int):
    """Takes the place of a container, and holds its depth."""


class _Measure:
    """Measures the depth or the number of items of metadata without keeping any objects."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._containers = 0
        self._values = 0

    def count(self, metadata: bytes) -> None:
        self._read(metadata, self._tally, self._tally)

    def depth(self, metadata: bytes) -> int:
        try:
            root = self._read(metadata, self._close, self._close_map)
        except StackError:
            return _STACK + 1
        return root if type(root) is _Level else 0

    def _read(self, metadata: bytes, list_hook: Callable[[Any], Any], map_hook: Callable[[Any], Any]) -> Any:
        most = min(self._limits.max_items, len(metadata))
        try:
            return unpackb(
                metadata,
                strict_map_key=False,
                list_hook=list_hook,
                object_pairs_hook=map_hook,
                ext_hook=_nothing,
                max_array_len=most,
                max_map_len=most,
            )
        except (LimitError, StackError):
            raise
        except Exception as error:
            raise decode_error(error, self._limits) from error

    def _tally(self, values: Iterable[Any]) -> None:
        self._containers += 1
        self._values += len(values if type(values) is list else list(values))  # old pure-Python msgpack: a generator
        if self._containers > self._limits.max_items or self._values > self._limits.max_items:
            raise too_many(self._limits)

    def _close(self, values: list[Any]) -> _Level:
        self._tally(values)
        return _Level(1 + max((value for value in values if type(value) is _Level), default=0))

    def _close_map(self, pairs: Iterable[tuple[Any, Any]]) -> _Level:
        entries = list(pairs)
        self._tally(entries)
        inside = (value for entry in entries for value in entry if type(value) is _Level)
        return _Level(1 + max(inside, default=0))


def _nothing(code: int, data: bytes) -> None:
    return None

"""Find the path of a value that could not be serialized, by walking the sender's object again after the failure.

Packing itself does not track the path. The walk visits the same parts as the encoders and counts levels as the format
does.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterable
from typing import Any

from flare_fobs._limits import MAX_DEPTH
from flare_fobs._registry import decomposers
from flare_fobs._wire import Frames
from flare_fobs.errors import EncodeError, LimitError

_LEAVES = frozenset((type(None), bool, int, float, bytes, bytearray))
_MAX_PATH = 160
_EncoderOf = Callable[[type], Callable[[Any, Frames], Any]]


def error_with_path(root: Any, error: Exception, encoder_of: _EncoderOf) -> EncodeError:
    """Return the packer's error with the path of the value, as in ``params['w'][3].field``."""
    if isinstance(error, LimitError) and "levels" not in str(error):
        return error
    for path, value, level in _walk(root):
        if level > MAX_DEPTH:
            return LimitError(
                f"{_readable(path)}: nested deeper than {MAX_DEPTH} levels; flatten it, if it does not contain itself"
            )
        fault = _fault(value, encoder_of)
        if fault is not None:
            return EncodeError(f"{_readable(path)}: {fault}")
    return EncodeError(f"cannot serialize the {type(root).__name__}: {error}; it may have changed meanwhile")


def _walk(root: Any) -> Iterable[tuple[str, Any, int]]:
    """Yield each value with its path and its nesting level, in the order of packing."""
    stack = [("", root, 0)]
    while stack:
        path, value, outer = stack.pop()
        kind = type(value)
        nests = kind is list or kind is dict or kind in decomposers
        level = outer + nests
        yield path, value, level
        if nests and level <= MAX_DEPTH:
            stack.extend((path + step, part, level) for step, part in reversed(list(_parts(value))))


def _parts(value: Any) -> Iterable[tuple[str, Any]]:
    if type(value) is list:
        return ((f"[{index}]", item) for index, item in enumerate(value))
    if type(value) is dict:
        entries = list(value.items())
        keys = ((f" key {reprlib.repr(key)}", key) for key, _ in entries)
        return (pair for both in zip(keys, _values(entries), strict=True) for pair in both)
    return decomposers[type(value)].parts(value)


def _values(entries: list[tuple[Any, Any]]) -> Iterable[tuple[str, Any]]:
    return ((f"[{reprlib.repr(key)}]", item) for key, item in entries)


def _fault(value: Any, encoder_of: _EncoderOf) -> str | None:
    kind = type(value)
    try:
        if kind is str:
            value.encode()
        elif kind is memoryview:
            value.cast("B")
        elif kind not in _LEAVES and kind is not list and kind is not dict:
            encoder_of(kind)(value, [])
    except EncodeError as error:
        return str(error)
    except UnicodeEncodeError as error:
        return f"the string has a lone surrogate at {error.start}; send text.encode(errors='surrogateescape') instead"
    except Exception as error:  # encode functions are user code
        return f"cannot encode the {kind.__name__}: {type(error).__name__}: {error}"
    return None


def _readable(path: str) -> str:
    path = path.removeprefix(".").strip() or "the object itself"
    return path if len(path) <= _MAX_PATH else f"{path[: _MAX_PATH // 2]} … {path[-_MAX_PATH // 2 :]}"

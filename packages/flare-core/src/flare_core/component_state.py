"""Whether an object that was made anew from its arguments is the one that it stands for."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import PurePath
from typing import Any

import numpy as np

__all__ = ["differences"]

_PLAIN = (int, float, complex, str, bytes, type(None), set, frozenset, Enum)


def differences(left: Any, right: Any) -> dict[str, tuple[Any, Any]]:
    """What differs between the attributes of two objects: both values, by the place of each.

    A list is as good as the tuple with its items, and text as the path that it names, as JSON has neither of those.
    Functions are taken to differ in their names only. Objects that have no attributes, such as generators and locks,
    are not looked into.
    """
    return dict(_differences(left, right, "", set()))


def _differences(left: Any, right: Any, where: str, seen: set[int]) -> Iterator[tuple[str, tuple[Any, Any]]]:
    if left is right or id(left) in seen:
        return
    seen.add(id(left))
    if isinstance(left, PurePath):
        left, right = str(left), str(right)
    if isinstance(left, Mapping) and isinstance(right, Mapping) and left.keys() == right.keys():
        for key in left:
            yield from _differences(left[key], right[key], f"{where}[{key!r}]", seen)
    elif isinstance(left, list | tuple) and isinstance(right, list | tuple) and len(left) == len(right):
        for index, pair in enumerate(zip(left, right, strict=True)):
            yield from _differences(*pair, f"{where}[{index}]", seen)
    elif not _are_alike(left, right):
        yield where, (left, right)
    elif hasattr(left, "__dict__") and not isinstance(left, types.FunctionType | type):
        ours, theirs = vars(left), vars(right)
        for name in {**ours, **theirs}:
            place = f"{where}.{name}" if where else name
            if name in ours and name in theirs:
                yield from _differences(ours[name], theirs[name], place, seen)
            else:
                yield place, (ours.get(name), theirs.get(name))


def _are_alike(left: Any, right: Any) -> bool:
    """Whether two values are the same, but for their attributes."""
    if isinstance(left, _PLAIN) or isinstance(right, _PLAIN):
        return bool(left == right or (left != left and right != right))
    if type(left) is not type(right) or isinstance(left, Mapping | list | tuple):
        return False
    if isinstance(left, np.ndarray):
        return np.array_equal(left, right)
    if callable(left) and hasattr(left, "__qualname__"):
        return bool(left.__qualname__ == right.__qualname__)
    return True

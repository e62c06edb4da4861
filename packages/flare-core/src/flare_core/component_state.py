"""Comparison of two objects that were made from the same arguments."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import PurePath
from typing import Any

import numpy as np

_PLAIN = (int, float, complex, str, bytes, type(None), set, frozenset, Enum, np.generic)


def differences(left: Any, right: Any) -> dict[str, tuple[Any, Any]]:
    """Return both values of each attribute in which two objects differ, by the path of the attribute.

    JSON has neither tuples nor paths, so a list equals a tuple with its items, and a string the path that it names.
    Functions are compared by name. Objects without attributes, such as generators and locks, are not compared.
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
    """Return True if two values are equal, apart from their attributes."""
    if isinstance(left, _PLAIN) and isinstance(right, _PLAIN):
        return bool(left == right or (left != left and right != right))
    if type(left) is not type(right) or isinstance(left, Mapping | list | tuple):
        return False
    if isinstance(left, np.ndarray):
        return np.array_equal(left, right)
    if callable(left) and hasattr(left, "__qualname__"):
        return bool(left.__qualname__ == right.__qualname__)
    return True

"""Values in a form that :func:`numpy.testing.assert_equal` compares bit by bit, whatever classes hold the arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any


def comparable(value: Any) -> Any:
    """Return a value with mappings and dataclasses as dicts, and sequences as lists."""
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: comparable(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {name: comparable(each) for name, each in value.items()}
    return [comparable(each) for each in value] if isinstance(value, list | tuple) else value

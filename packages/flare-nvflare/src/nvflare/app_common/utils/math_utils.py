"""Conditions on numbers."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "=": operator.eq,
}


def parse_compare_criteria(compare_expr: str | None = None) -> tuple[str, float, Callable[[Any, Any], bool]]:
    """Return the name, the number and the comparison of a condition such as ``accuracy >= 0.9``.

    Raises:
        ValueError: it is none.
    """
    parts = compare_expr.split() if isinstance(compare_expr, str) else []
    if len(parts) != 3 or parts[1] not in _OPERATORS:
        raise ValueError(
            f"{compare_expr!r} is no condition; write '<name> <operator> <number>' with one of {' '.join(_OPERATORS)}"
        )
    try:
        target = float(parts[2])
    except ValueError:
        raise ValueError(f"{parts[2]!r} in {compare_expr!r} is no number") from None
    return parts[0], target, _OPERATORS[parts[1]]

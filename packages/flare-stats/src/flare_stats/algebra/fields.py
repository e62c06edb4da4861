"""Entries of plain data that arrived from another party, checked one by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from flare_core.errors import FlareError


class AlgebraError(FlareError, ValueError):
    """Partial statistics that cannot be used or merged: another shape, other edges, an entry that is missing."""


def field(data: Mapping[str, Any], name: str, types: type | tuple[type, ...], *, least: float | None = None) -> Any:
    """Return an entry of plain data, of one of the types (an integer passes for a float) and not below `least`.

    Raises:
        AlgebraError: it is missing, of another type or too small.
    """
    value: Any = data.get(name)
    wanted = types if isinstance(types, tuple) else (types,)
    allowed: Any = (*wanted, int) if float in wanted else wanted
    if not isinstance(value, allowed) or isinstance(value, bool):
        expected = " or ".join(each.__name__ for each in wanted)
        raise AlgebraError(f"{name!r} of partial statistics is {value!r:.80}, expected: {expected}")
    if least is not None and value < least:
        raise AlgebraError(f"{name!r} of partial statistics is {value!r}, expected at least {least:g}")
    return float(value) if wanted == (float,) else value


def array_field(data: Mapping[str, Any], name: str, dtype: type, shape: tuple[int | None, ...]) -> np.ndarray[Any, Any]:
    """Return an entry as a new array of the dtype; None in the shape stands for any length.

    Raises:
        AlgebraError: it is missing, holds no numbers or has another shape.
    """
    value = data.get(name)
    try:
        array: np.ndarray[Any, Any] = np.array(value, dtype=dtype)
    except (TypeError, ValueError) as error:
        raise AlgebraError(f"{name!r} of partial statistics is {value!r:.80}, expected numbers") from error
    matches = array.ndim == len(shape) and all(
        want in (None, got) for want, got in zip(shape, array.shape, strict=True)
    )
    if not matches:
        raise AlgebraError(f"{name!r} of partial statistics has shape {array.shape}, expected {shape}")
    return array

"""Columns of any type as numbers, with the values that are missing and those that are no numbers counted apart."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Values = npt.NDArray[Any]
INTEGER = r"^[+-]?\d{1,18}$"
NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


@dataclass(frozen=True)
class Numbers:
    """Numbers of a column or of a part of it.

    Attributes:
        values: the finite ones, of shape ``(count,)`` and dtype ``int64``, ``uint64`` or ``float64``. May share memory
            with the column: not to be written to.
        missing: how many values are null or NaN.
        failures: how many values are no finite numbers: infinite, or a text that does not spell a number.
    """

    values: Values
    missing: int = 0
    failures: int = 0

    @cached_property
    def ascending(self) -> Values:
        """The values in ascending order; sorted once for all accumulators that need it."""
        return np.sort(self.values)


def to_numbers(column: Any, kind: str = "float") -> Numbers:
    """Convert a column to numbers.

    Integers stay integers, so that those beyond 2**53 keep each digit; everything else becomes ``float64``. False and
    true are 0 and 1. Dates and times are seconds since 1970-01-01 in UTC (those without a time zone are taken as UTC),
    durations are seconds. A text is what it spells. A list is each of its elements, as the pixels of an image are.

    Args:
        column: an Arrow array, or a NumPy array of shape ``(n,)``. :class:`Numbers` are returned as they are.
        kind: the kind of the column; ``"datetime"`` reads text as ISO 8601 dates.
    """
    if isinstance(column, Numbers):
        return column
    column = unwrapped(column)
    if is_list(column.type):
        inner = to_numbers(column.flatten(), kind)
        return Numbers(inner.values, inner.missing + column.null_count, inner.failures)
    array = _numeric(column, kind)
    missing, failures = column.null_count, array.null_count - column.null_count
    values = (array.drop_null() if array.null_count else array).to_numpy()
    if values.dtype.kind != "f":
        return Numbers(values, missing, failures)
    finite = np.isfinite(values)
    if finite.all():
        return Numbers(values, missing, failures)
    nans = int(np.isnan(values).sum())
    kept = values[finite]
    return Numbers(kept, missing + nans, failures + len(values) - len(kept) - nans)


def to_floats(column: Any, kind: str = "float") -> npt.NDArray[np.float64]:
    """Convert a column to floats in the order of its rows, NaN where :func:`to_numbers` finds none.

    Args:
        column: an Arrow array without lists, or a NumPy array of shape ``(n,)``.
        kind: as for :func:`to_numbers`.
    """
    array = _numeric(unwrapped(column), kind)
    floats: npt.NDArray[np.float64] = array.to_numpy(zero_copy_only=False).astype(np.float64, copy=False)
    finite = np.isfinite(floats)
    return floats if finite.all() else np.where(finite, floats, np.nan)


def is_list(of: Any) -> bool:
    """Report whether an Arrow type is one of lists."""
    return bool(pa.types.is_list(of) or pa.types.is_large_list(of) or pa.types.is_fixed_size_list(of))


def is_text(of: Any) -> bool:
    """Report whether an Arrow type is one of text."""
    return bool(pa.types.is_string(of) or pa.types.is_large_string(of) or pa.types.is_string_view(of))


def unwrapped(column: Any) -> Any:
    """Return a plain Arrow array: no chunks, dictionary, runs or extension type; decimals and half floats as floats."""
    if isinstance(column, np.ndarray):
        return pa.array(column, from_pandas=False)
    if isinstance(column, pa.ChunkedArray):
        return unwrapped(column.combine_chunks())
    if isinstance(column, pa.ExtensionArray):
        return unwrapped(column.storage)
    if pa.types.is_dictionary(column.type):
        return unwrapped(column.dictionary_decode())
    if pa.types.is_run_end_encoded(column.type):
        return unwrapped(pc.run_end_decode(column))
    if pa.types.is_decimal(column.type) or pa.types.is_float16(column.type):
        return column.cast(pa.float64(), safe=False)  # few functions of Arrow know them
    return column


def _numeric(column: Any, kind: str) -> Any:
    """An array of the same length, of 64-bit integers or floats, null where there is no number."""
    of = column.type
    if pa.types.is_integer(of):
        return column.cast(pa.uint64() if of == pa.uint64() else pa.int64())
    if pa.types.is_boolean(of):
        return column.cast(pa.uint8()).cast(pa.int64())
    if pa.types.is_floating(of) or pa.types.is_null(of):
        return column.cast(pa.float64(), safe=False)
    if is_text(of):
        return _dates(column) if kind == "datetime" else _spelled(column)
    if pa.types.is_date(of):
        return _numeric(column.cast(pa.timestamp("s")), kind)
    if pa.types.is_timestamp(of) or pa.types.is_time(of) or pa.types.is_duration(of):
        whole = column.cast(pa.int32() if pa.types.is_time32(of) else pa.int64())
        return pc.divide(whole.cast(pa.float64(), safe=False), float(TICKS[of.unit]))
    return pa.nulls(len(column), pa.float64())


def _spelled(column: Any) -> Any:
    """Numbers that texts spell: integers if all that are numbers are, null where a text is none."""
    text = pc.utf8_trim_whitespace(column.cast(pa.large_string()))
    if not pc.all(pc.match_substring_regex(text, NUMBER)).as_py():
        lower = pc.utf8_lower(text)
        for flag, number in (("true", "1"), ("false", "0")):
            text = pc.if_else(pc.equal(lower, flag), number, text)
        text = pc.if_else(pc.match_substring_regex(text, NUMBER), text, None)
    integers = pc.all(pc.match_substring_regex(text, INTEGER)).as_py()
    return pc.utf8_ltrim(text, "+").cast(pa.int64() if integers else pa.float64())


def _dates(column: Any) -> Any:
    """Seconds since 1970 of texts in ISO 8601."""
    try:
        return _numeric(column.cast(pa.timestamp("us")), "datetime")
    except pa.ArrowInvalid:
        return pa.array([_seconds(text) for text in column.to_pylist()], pa.float64())


def _seconds(text: str | None) -> float | None:
    try:
        return None if text is None else float(pa.scalar(text).cast(pa.timestamp("us")).value / 10**6)
    except pa.ArrowInvalid:
        return None

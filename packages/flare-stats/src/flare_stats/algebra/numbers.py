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
NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
TRUE_OR_FALSE = r"^(?i:true|false)$"


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
    if isinstance(column, np.ndarray):
        column = pa.array(column, from_pandas=False)
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    return _of_type(column, kind)


def _of_type(column: Any, kind: str) -> Numbers:
    of = column.type
    if pa.types.is_floating(of):
        return _floats(column)
    if pa.types.is_integer(of):
        wide = pa.uint64() if of == pa.uint64() else pa.int64()
        return Numbers(_plain(column.cast(wide)), column.null_count)
    if pa.types.is_boolean(of):
        return Numbers(_plain(column.cast(pa.uint8())).astype(np.int64), column.null_count)
    if pa.types.is_null(of):
        return Numbers(np.empty(0), len(column))
    if pa.types.is_temporal(of):
        return _floats(_seconds(column))
    if pa.types.is_decimal(of):
        return _floats(column.cast(pa.float64(), safe=False))
    if _is_text(of):
        return _spelled(column, kind)
    if pa.types.is_dictionary(of):
        return _of_type(column.dictionary_decode(), kind)
    if isinstance(column, pa.ExtensionArray):
        return _of_type(column.storage, kind)
    if pa.types.is_list(of) or pa.types.is_large_list(of) or pa.types.is_fixed_size_list(of):
        inner = _of_type(column.flatten(), kind)
        return Numbers(inner.values, inner.missing + column.null_count, inner.failures)
    if pa.types.is_run_end_encoded(of):
        return _of_type(pc.run_end_decode(column), kind)
    return Numbers(np.empty(0), column.null_count, len(column) - column.null_count)


def _is_text(of: Any) -> bool:
    return bool(pa.types.is_string(of) or pa.types.is_large_string(of) or pa.types.is_string_view(of))


def _plain(column: Any) -> Values:
    """The values that are not null, without a copy where there is no null."""
    values: Values = (column.drop_null() if column.null_count else column).to_numpy(zero_copy_only=False)
    return values


def _floats(column: Any) -> Numbers:
    values = _plain(column).astype(np.float64, copy=False)
    finite = np.isfinite(values)
    if finite.all():
        return Numbers(values, column.null_count)
    missing = int(np.isnan(values).sum())
    kept = values[finite]
    return Numbers(kept, column.null_count + missing, len(values) - len(kept) - missing)


def _seconds(column: Any) -> Any:
    """A column of times as seconds: since 1970 in UTC, since midnight, or of a duration."""
    of = column.type
    if pa.types.is_date(of):
        column = column.cast(pa.timestamp("ms"))
        of = column.type
    elif pa.types.is_interval(of):
        return pa.array([None] * len(column), pa.float64())
    ticks = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[of.unit]
    whole = column.cast(pa.int32() if pa.types.is_time32(of) else pa.int64())
    return pc.divide(whole.cast(pa.float64(), safe=False), float(ticks))


def _spelled(column: Any, kind: str) -> Numbers:
    present = pc.utf8_trim_whitespace(column.drop_null().cast(pa.large_string()))
    missing = column.null_count
    if kind == "datetime":
        times = [_timestamp(text) for text in present.to_pylist()]
        known = np.array([time for time in times if time is not None], np.float64)
        return Numbers(known, missing, len(times) - len(known))
    try:
        return Numbers(_plain(present.cast(pa.int64())), missing)
    except pa.ArrowInvalid:
        pass  # not integers alone
    spells = pc.match_substring_regex(present, NUMBER)
    flags = pc.match_substring_regex(present, TRUE_OR_FALSE)
    values = [
        _plain(pc.utf8_ltrim(present.filter(spells), "+").cast(pa.float64())),
        _plain(present.filter(flags).cast(pa.bool_()).cast(pa.float64())),
    ]
    inner = _floats(pa.array(np.concatenate(values)))
    return Numbers(inner.values, missing, inner.failures + len(present) - len(values[0]) - len(values[1]))


def _timestamp(text: str) -> float | None:
    try:
        time = pa.scalar(text).cast(pa.timestamp("us"))
    except pa.ArrowInvalid:
        return None
    return float(time.value / 10**6)

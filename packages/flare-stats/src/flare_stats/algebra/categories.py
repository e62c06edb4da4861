"""Counts of each category of a column."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc

from flare_stats.algebra.fields import AlgebraError, field
from flare_stats.algebra.numbers import is_text, unwrapped

LONGEST = 256


class Categories:
    """Counts of each value of a column, of bounded size.

    A value is known by its text: whole numbers without a point, so that 1 and 1.0 are one category; ``true`` and
    ``false``; times in ISO 8601 in UTC. A text of more than 256 characters is no category.

    While there are at most `limit` values, each count is exact. Beyond, the rarest are dropped now and then: a count
    is then too small by at most :attr:`error`. All values are counted: those of dropped ones in :attr:`others`.

    Source: the lossy counting of Manku and Motwani 2002, with pruning by size instead of by age.

    Args:
        limit: how many values are kept at most.

    Raises:
        AlgebraError: the limit is below 1.

    Attributes:
        counts: of each value.
        missing: how many values are null or NaN.
        others: how many values are counted under no category.
        error: by how much a count may be too small; also that of a value that is not in `counts`.
    """

    def __init__(self, limit: int = 1000) -> None:
        if limit < 1:
            raise AlgebraError(f"categories cannot be counted with limit={limit}; allow at least one")
        self.limit = limit
        self.counts: dict[str, int] = {}
        self.missing = 0
        self.others = 0
        self.error = 0

    @property
    def count(self) -> int:
        """How many values are not missing."""
        return sum(self.counts.values()) + self.others

    def add(self, column: Any) -> None:
        """Add a part of the column: an Arrow or a NumPy array."""
        column = unwrapped(column)
        if not has_text(column.type):
            self.missing += column.null_count
            self.others += len(column) - column.null_count
            return
        pairs = pc.value_counts(column)
        for value, count in zip(as_text(pairs.field("values")), pairs.field("counts").to_pylist(), strict=True):
            if value is None:
                self.missing += count
            elif len(value) > LONGEST:
                self.others += count
            else:
                self.counts[value] = self.counts.get(value, 0) + count
        self._prune()

    def merge(self, other: Categories) -> None:
        """Add the counts of another one; errors add up."""
        for value, count in other.counts.items():
            self.counts[value] = self.counts.get(value, 0) + count
        self.missing += other.missing
        self.others += other.others
        self.error += other.error
        self._prune()

    def top(self, number: int) -> list[tuple[str, int]]:
        """Return the most frequent values and their counts; equal counts in the order of their text."""
        return sorted(self.counts.items(), key=lambda pair: (-pair[1], pair[0]))[:number]

    def _prune(self) -> None:
        if len(self.counts) <= self.limit:
            return
        kept = dict(self.top(self.limit))
        dropped = [count for value, count in self.counts.items() if value not in kept]
        self.counts = kept
        self.others += sum(dropped)
        self.error += max(dropped)

    def to_data(self) -> dict[str, Any]:
        """Return the state as plain data."""
        names = ("limit", "missing", "others", "error")
        return {"counts": dict(self.counts), **{name: getattr(self, name) for name in names}}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """Restore what :meth:`to_data` returned.

        Raises:
            AlgebraError: names the entry that is missing or unusable.
        """
        categories = cls(field(data, "limit", int, least=1))
        for name in ("missing", "others", "error"):
            setattr(categories, name, field(data, name, int, least=0))
        counts = field(data, "counts", dict)
        if not all(isinstance(value, str) for value in counts):
            raise AlgebraError("'counts' of partial statistics has keys that are no text")
        categories.counts = {value: field(counts, value, int, least=0) for value in counts}
        return categories


def as_text(values: Any) -> list[str | None]:
    """Return the text that each value of an Arrow array is known by; None for null and NaN."""
    of = values.type
    if pa.types.is_floating(of):
        return [None if value is None or value != value else _short(value) for value in values.to_pylist()]
    if pa.types.is_null(of):
        return [None] * len(values)
    if pa.types.is_timestamp(of) and of.tz is not None:
        values = values.cast(pa.int64()).cast(pa.timestamp(of.unit))  # in UTC
    texts: list[str | None] = values.cast(pa.string()).to_pylist()
    return texts


def _short(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)


def has_text(of: Any) -> bool:
    """Report whether values of an Arrow type are known by a text: not bytes, lists, structures and the like."""
    plain = pa.types.is_primitive(of) and not pa.types.is_interval(of)  # numbers, booleans and times
    return bool(plain or is_text(of) or pa.types.is_null(of))

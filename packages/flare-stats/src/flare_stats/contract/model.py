"""Contract: the rules that a table must keep, column by column, before a model is trained with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

VERSION = 1
KINDS = ("int", "float", "bool", "category", "text", "datetime", "other")
SHIFT = 0.5
"""Largest difference of a distribution from the reference's, unless a contract says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnRules:
    """The rules of one column. Shares are from 0 to 1; a share of 1 allows everything.

    Attributes:
        name: the column's name.
        kind: one of :data:`KINDS`. A column of integers is accepted where ``float`` is asked for.
        unit: the unit of its numbers, for messages and to recognize other units.
        required: whether the column must be there.
        missing: the largest share of missing values.
        repeated: the largest share of values that repeat an earlier one; 0 for a column of unique values.
        range: smallest and largest possible number, or moment in seconds since 1970: not one may lie outside.
        usual: the numbers that are usual.
        unusual: the largest share of numbers outside ``usual``.
        categories: the values, with their shares at the reference; None where those are not known.
        other: the largest share of values that are none of ``categories``; 0 closes the list.
        codes: the meaning of categories, such as ``{"0": "no", "1": "yes"}``, to recognize other encodings.
        numbers: the largest share of texts that are numbers.
        profile: numbers in ascending order, each with the share of the reference's values up to and including it. Of a
            text, the numbers are lengths.
        shift: the largest difference from those shares.
    """

    name: str
    kind: str
    unit: str = ""
    required: bool = True
    missing: float = 1.0
    repeated: float = 1.0
    range: tuple[float, float] | None = None
    usual: tuple[float, float] | None = None
    unusual: float = 0.0
    categories: Mapping[str, float | None] = field(default_factory=lambda: MappingProxyType({}))
    other: float = 1.0
    codes: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    numbers: float = 1.0
    profile: tuple[tuple[float, float], ...] = ()
    shift: float = SHIFT

    @property
    def is_numeric(self) -> bool:
        """True if the values are numbers or moments."""
        return self.kind in ("int", "float", "datetime")

    @property
    def shares(self) -> dict[str, float]:
        """The shares of the categories at the reference; empty if they are not known."""
        return {value: share for value, share in self.categories.items() if share is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRules:
    """The rules of the column that a model predicts.

    Attributes:
        column: its name.
        balance: by class, the smallest and the largest share of the rows.
    """

    column: str
    balance: Mapping[str, tuple[float, float]] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """The rules of a table.

    Attributes:
        name: the name of the data.
        columns: the rules by column, in the order of the table.
        rows: the smallest and the largest number of rows.
        reference_rows: the number of rows that the profiles were made of; None if the contract was written by hand.
        ordered: whether the columns must be in this order.
        extra: whether other columns may be there.
        repeated_rows: the largest share of rows that repeat an earlier one.
        keys: columns that identify a row together.
        label: the column that a model predicts.
    """

    name: str
    columns: Mapping[str, ColumnRules]
    rows: tuple[int, int | None] = (1, None)
    reference_rows: int | None = None
    ordered: bool = False
    extra: bool = True
    repeated_rows: float = 1.0
    keys: tuple[tuple[str, ...], ...] = ()
    label: LabelRules | None = None

"""A contract that is made from the table of a reference site.

It holds no value of a person: bounds lie outside of the values and are round, marks of a profile are round and have at
least ``least`` values between them, and categories are named only if at least ``least`` rows have them.

Its bounds are wide enough for another sample of the same people: it is for mistakes in the preparation of data, not for
differences between sites. Edit it to be stricter.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from flare_stats.contract.breaches import LEAST
from flare_stats.contract.errors import ContractError
from flare_stats.contract.model import ColumnRules, Contract, LabelRules
from flare_stats.contract.profile import ColumnProfile, TableProfile

Numbers = npt.NDArray[np.float64]

LEVELS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
MOST_LISTED = 50
"""Categories of a column; one with more of them is text."""

_DAY, _MONTH, _YEAR = 86_400.0, 30 * 86_400.0, 365 * 86_400.0
_FIRST, _LAST = -62_135_596_800.0, 253_402_300_799.0  # the years from 1 to 9999, in seconds since 1970
_MOST = 1e100
"""Numbers beyond have no bounds: differences between them are no numbers."""
_CHANCE = 1000.0
"""The largest value of another sample of the same size lies outside of the range about once in so many times."""


def make_contract(
    table: TableProfile,
    *,
    name: str = "data",
    label: str | None = None,
    units: Mapping[str, str] | None = None,
    least: int = LEAST,
) -> Contract:
    """Make a contract from the profile of a reference table.

    Args:
        table: the profile.
        name: the name of the data.
        label: the column that a model predicts.
        units: units by column.
        least: the smallest number of rows that anything in the contract stands for, at least 2.
    Raises:
        ContractError: the table has too few rows, or no column of a name that is given.
    """
    if least < 2:
        raise ContractError(
            f"the smallest number of rows is {least}; give at least 2, so that no row stands for itself"
        )
    if table.rows < 2 * least:
        raise ContractError(
            f"the table has {table.rows} rows, too few for a contract that must not show single rows;"
            f" use a table of at least {2 * least} rows"
        )
    for given in (*([label] if label else ()), *(units or ())):
        if given not in table.columns:
            raise ContractError(f"the table has no column {given!r}; it has {', '.join(list(table.columns)[:20])}")
    columns = {
        each.name: _rules(each, (units or {}).get(each.name, ""), least, is_label=each.name == label)
        for each in table.columns.values()
    }
    repeated = table.repeated_rows / table.rows
    return Contract(
        name=name,
        columns=columns,
        rows=(least, None),
        reference_rows=_two_digits(table.rows),
        repeated_rows=1.0 if repeated > 0.2 else _up(max(0.02, 2 * repeated)),
        label=None if label is None else _label(columns[label], table.columns[label], least),
    )


def _rules(column: ColumnProfile, unit: str, least: int, *, is_label: bool) -> ColumnRules:
    missing = column.missing / column.rows
    allowed = _up(min(1.0, max(0.01 if is_label else 0.05, 1.5 * missing + 0.05 * (missing > 0))))
    common = ColumnRules(name=column.name, kind="other", unit=unit, missing=allowed)
    if column.is_opaque or not column.present:
        return common
    if _is_key(column):
        return replace(common, kind=_kind(column), repeated=0.01, numbers=_numbers(column))
    if (categories := _categories(column, least)) is not None:
        named = sum(column.categories[value] for value in categories)
        rare = 1 - named / column.present
        kind = "bool" if column.is_bool else "category" if column.texts else "int"
        other = _up(min(1.0, 0.01 + rare + 2 * math.sqrt(rare * (1 - rare) / column.present)))
        return replace(common, kind=kind, categories=categories, other=other)
    if column.texts >= 0.9 * column.present:
        profile = _profile(column.lengths, least, step=1.0)
        return replace(common, kind="text", numbers=_numbers(column), profile=profile)
    if column.is_bool:
        return replace(common, kind="bool")
    if column.texts:  # texts and numbers: nothing is sure
        return replace(common, kind="text")
    return _of_numbers(column, least, common)


def _of_numbers(column: ColumnProfile, least: int, common: ColumnRules) -> ColumnRules:
    numbers, kind = column.numbers, _kind(column)
    if max(abs(column.low), abs(column.high)) > _MOST:
        return replace(common, kind=kind)
    step = 1.0 if kind == "int" else 0.0
    if kind == "datetime":
        span = column.high - column.low
        step = _YEAR if span > 10 * _YEAR else _MONTH if span > _YEAR else _DAY
    low, high = _hard_range(column, step)
    if kind == "datetime":  # sites have seen their people at different times
        return replace(common, kind=kind, range=(max(low, _FIRST), min(high, _LAST)))
    rules = replace(common, kind=kind, range=(low, high))
    if column.low == column.high:  # one value for all: closer bounds would tell nothing but that value
        return rules
    low, high = (float(each) for each in np.quantile(numbers, [0.01, 0.99]))
    margin = 0.25 * (high - low)
    usual = _outward(low - margin, high + margin, numbers, step)
    return replace(rules, usual=usual, unusual=0.02, profile=_profile(numbers, least, step=step))


def _kind(column: ColumnProfile) -> str:
    if column.is_bool:
        return "bool"
    if column.is_time:
        return "datetime"
    if column.texts:
        return "text"
    return "float" if column.fractional else "int"


def _numbers(column: ColumnProfile) -> float:
    """Return the largest share of numbers that is allowed among texts."""
    return _up(min(1.0, 0.05 + 2 * column.count / column.present)) if column.texts else 1.0


def _is_key(column: ColumnProfile) -> bool:
    """Return True if the values are unique, and not by chance."""
    if column.repeated or column.is_time or column.is_bool or column.present < 50:
        return False
    if column.texts:
        return True
    # Whole numbers from a range would repeat by chance about so often.
    return not column.fractional and column.present**2 / (2 * (column.high - column.low + 1)) >= 20


def _categories(column: ColumnProfile, least: int) -> dict[str, float | None] | None:
    """Return the categories that enough rows have, with their shares; None if the column has none."""
    found = {value: count for value, count in column.categories.items() if count >= least}
    different = column.present - column.repeated
    if column.is_time or not found or different > MOST_LISTED or column.rest:
        return None
    if not column.texts and not column.is_bool and (different > 12 or column.fractional):
        return None  # numbers that are counted or measured
    if sum(found.values()) < 0.7 * column.present:
        return None
    ordered = sorted(found, key=lambda value: (len(value), value) if not column.texts else (0, value))
    return {value: round(found[value] / column.present, 2) for value in ordered}


def _label(rules: ColumnRules, column: ColumnProfile, least: int) -> LabelRules:
    shares = {value: column.categories[value] / column.present for value in rules.categories}
    balance = {value: (_down(share / 3), _up(1 - (1 - share) / 3)) for value, share in shares.items()}
    return LabelRules(column=column.name, balance=balance)


def _profile(numbers: Numbers, least: int, *, step: float) -> tuple[tuple[float, float], ...]:
    """Return round marks with the shares of the numbers up to them, at least ``least`` numbers apart."""
    levels = np.quantile(numbers, LEVELS)
    gaps = np.diff(np.unique(levels))
    if not len(gaps):
        return ()
    marks: dict[float, float] = {}
    before = 0
    for level in levels.tolist():
        near = np.abs(np.unique(levels) - level)
        near = near[near > 0]
        mark = _rounded(level, max(step, _power(float(near.min()) / 2)))
        below = int(np.searchsorted(numbers, mark, side="right"))
        if mark not in marks and min(below - before, len(numbers) - below) >= least:
            marks[mark] = round(below / len(numbers), 2)
            before = below
    return tuple(sorted(marks.items()))


def _hard_range(column: ColumnProfile, step: float) -> tuple[float, float]:
    """Return bounds outside of all numbers, as far as the tails of their distribution are heavy."""
    numbers = column.numbers
    middle = float(np.median(numbers))
    low = middle - (middle - column.low) * _reach(middle - numbers)
    high = middle + (column.high - middle) * _reach(numbers - middle)
    # Numbers that come close to 0, but never are 0, may be below it elsewhere, such as logarithms.
    may_be_negative = column.low < 0 or (column.fractional > 0 and 0 < column.low < 0.02 * middle)
    return _outward(low, high, numbers, step, is_signed=may_be_negative)


def _reach(excess: Numbers) -> float:
    """Return how many times as far as the largest excess over the median another sample may reach.

    Three times, unless the tail is heavier than that of a bell.

    Source: Hill's estimator of the tail index α; the largest of another sample exceeds ``c`` times the largest of this
    one with a probability of about ``c^-α``.
    """
    excess = np.sort(excess[excess > 0])
    top = excess[-max(10, math.isqrt(len(excess))) :]
    if len(top) < 2 or top[-1] <= 2.5 * np.quantile(excess, 0.8):
        return 3.0
    index = 1 / max(1e-3, float(np.mean(np.log(top[1:] / top[0]))))
    return float(np.clip(_CHANCE ** (1 / max(index, 1.0)), 3.0, 20.0))


def _outward(
    low: float, high: float, numbers: Numbers, step: float, *, is_signed: bool | None = None
) -> tuple[float, float]:
    """Return round numbers outside of two bounds; 0 below numbers that are never negative."""
    unit = max(step, _power((high - low) / 5) if high > low else _power(abs(high) or 1.0))
    signed = bool(numbers[0] < 0) if is_signed is None else is_signed
    bottom = math.floor(low / unit) * unit
    if not signed:
        bottom = max(bottom, 0.0)
    return _clean(bottom), _clean(math.ceil(high / unit) * unit)


def _power(value: float) -> float:
    """Return the largest power of ten up to a number."""
    return 10.0 ** math.floor(math.log10(value)) if value > 0 else 1.0


def _rounded(value: float, step: float) -> float:
    return _clean(round(value / step) * step)


def _clean(value: float) -> float:
    """Return a number without the error of binary fractions in its last digits."""
    return float(f"{value:.12g}") + 0.0


def _two_digits(count: int) -> int:
    step: int = 10 ** max(0, len(str(count)) - 2)
    return count // step * step


def _up(share: float) -> float:
    return min(1.0, math.ceil(100 * share - 1e-9) / 100)


def _down(share: float) -> float:
    return math.floor(100 * share + 1e-9) / 100

"""How well a column fits the rules of a column of a contract: its own, or another one's."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from flare_stats.contract.model import ColumnRules, Contract
from flare_stats.contract.profile import ColumnProfile, TableProfile
from flare_stats.contract.statistics import chance_distance, exceeds

Numbers = npt.NDArray[np.float64]


def distance(rules: ColumnRules, column: ColumnProfile) -> float | None:
    """Return how far the distribution of a column is from the reference's: 0 for the same, 1 for nothing in common.

    It is the Kolmogorov-Smirnov distance at the marks of a profile, and the total variation distance of categories.

    Returns:
        None if the contract does not say how the values are distributed, or the column has none.
    """
    if not column.present:
        return None
    if rules.shares:
        return _of_categories(rules, column)
    if not rules.profile:
        return None
    is_text = rules.kind in ("text", "category")
    if is_text != (column.texts > column.count) or column.is_time != (rules.kind == "datetime"):
        return 1.0
    if rules.kind == "int" and not column.is_integral:
        return 1.0
    return of_numbers(rules, column.lengths if is_text else column.numbers)


def of_numbers(rules: ColumnRules, numbers: Numbers) -> float:
    """Return the Kolmogorov-Smirnov distance of ascending numbers from a profile, at its marks."""
    if not len(numbers):
        return 1.0
    marks, shares = np.array(rules.profile).T
    return float(np.abs(np.searchsorted(numbers, marks, side="right") / len(numbers) - shares).max())


def _of_categories(rules: ColumnRules, column: ColumnProfile) -> float:
    shares = rules.shares
    seen = {value: column.categories.get(value, 0) / column.present for value in shares}
    known = sum(abs(seen[value] - share) for value, share in shares.items())
    others = max(0.0, 1 - sum(shares.values())), 1 - sum(seen.values())
    return (known + abs(others[0] - others[1])) / 2


def by_chance(rules: ColumnRules, column: ColumnProfile, reference_rows: int | None) -> float:
    """Return the distance that chance alone explains; for ``reference_rows`` of None, of the column's own rows."""
    present = min(column.present, 20_000)
    return chance_distance(present, reference_rows or present)


def conforms(rules: ColumnRules, column: ColumnProfile) -> bool:
    """Return True if the values of a column are of the kind, in the range and of the categories of some rules."""
    if not column.present:
        return False
    if rules.kind in ("int", "float", "datetime"):
        if column.texts or column.is_opaque or column.is_time != (rules.kind == "datetime"):
            return False
        if rules.kind == "int" and not column.is_integral:
            return False
    for bounds, share in ((rules.range, 0.01), (rules.usual, rules.unusual)):
        if bounds is not None and len(column.numbers):
            is_out = (column.numbers < bounds[0]) | (column.numbers > bounds[1])
            if exceeds(int(is_out.sum()), len(column.numbers), share):
                return False
    if rules.categories:
        others = column.present - sum(column.categories.get(value, 0) for value in rules.categories)
        if exceeds(others, column.present, rules.other):
            return False
    return not (rules.kind == "text" and exceeds(column.count, column.present, rules.numbers))


def has_header(contract: Contract, table: TableProfile) -> bool:
    """Return True if the names of a table's columns are evidently names, not the values of its first row."""
    return 2 * sum(name in table.columns for name in contract.columns) >= len(contract.columns)

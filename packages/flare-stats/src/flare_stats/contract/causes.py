"""Likely causes of broken rules: swapped columns, other units, other encodings, codes for missing values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from flare_stats.contract import encodings
from flare_stats.contract.breaches import Breach, Telling, distance_text, number_text
from flare_stats.contract.fit import by_chance, conforms, distance, has_header, of_numbers
from flare_stats.contract.model import ColumnRules, Contract
from flare_stats.contract.profile import ColumnProfile, TableProfile
from flare_stats.contract.statistics import exceeds
from flare_stats.contract.units import Conversion, Numbers, conversions, fitted_change, fitted_factor

MOST_COMPARED = 200
"""Columns that are compared with each other to find those that are swapped."""

_OF_VALUES = {"kind", "range", "usual", "categories", "numbers", "profile", "codes"}
"""Rules that values of another column, or in another unit, would break."""


class Causes:
    """The likely causes of what is broken in a table.

    Args:
        contract: the contract.
        table: the table.
        broken: the broken rules by column; a column without any has an empty list.
        telling: how exactly counts are told.
    """

    def __init__(
        self, contract: Contract, table: TableProfile, broken: Mapping[str, Sequence[Breach]], telling: Telling
    ) -> None:
        self._contract, self._table, self._telling = contract, table, telling
        self._broken = {name: any(each.rule in _OF_VALUES for each in breaches) for name, breaches in broken.items()}
        self._rules = {name: {each.rule for each in breaches} for name, breaches in broken.items()}
        names = [name for name in broken if name in contract.columns and name in table.columns]
        self._own = {name: self._distance(name, name) for name in names}
        self._swapped = self._swaps(names)

    def of_table(self, breach: Breach) -> str:
        """Return the cause of a broken rule of the whole table; empty if none is apparent."""
        if breach.rule == "repeated_rows" and self._table.repeated_rows >= 0.45 * self._table.rows:
            return "the same rows were exported twice"
        return "some rows were exported or joined more than once" if breach.rule == "repeated_rows" else ""

    def _other_name(self, name: str) -> str:
        """Return which column of the table may be a missing one; empty if none is apparent."""
        extra = [each for each in self._table.columns if each not in self._contract.columns]
        if same := [each for each in extra if _plain(each) == _plain(name)]:
            return f"column {same[0]!r} is the same name in another spelling"
        if not has_header(self._contract, self._table):  # whose names could be values
            return "the file has no header, or is another table"
        found = [each for each in extra if self._fits(name, each)]
        return f"column {found[0]!r} has such values: it may have another name here" if len(found) == 1 else ""

    def of_column(self, name: str) -> Breach | None:
        """Return the cause of what is broken in a column; also one that is evident though no rule is broken."""
        rules, column = self._contract.columns.get(name), self._table.columns.get(name)
        if rules is not None and column is None:
            return Breach(name, "", "", "", self._other_name(name))
        if rules is None or column is None or not column.present:
            return None
        if other := self._swapped.get(name):
            found = f"the values fit the reference's {other!r} rather than {name!r}"
            return Breach(name, "swap", found, f"the values of {name!r}", f"columns {name!r} and {other!r} are swapped")
        if not self._broken[name]:
            return self._known_unit(rules, column, is_certain=False) or self._flipped(rules, column)
        if cause := self._of_texts(rules, column) or self._of_codes(rules, column):
            return Breach(name, "", "", "", cause)
        if known := self._known_unit(rules, column, is_certain=True) or self._flipped(rules, column):
            return known
        if cause := self._in_place_of(name):
            return Breach(name, "", "", "", cause)
        return self._unknown_unit(rules, column)

    def _distance(self, name: str, values_of: str) -> float | None:
        return distance(self._contract.columns[name], self._table.columns[values_of])

    def _chance(self, name: str) -> float:
        rules = self._contract.columns[name]
        return by_chance(rules, self._table.columns[name], self._contract.reference_rows)

    def _fits(self, name: str, values_of: str) -> bool:
        """Return True if a column of the table has the values that another name stands for."""
        rules, column = self._contract.columns[name], self._table.columns[values_of]
        far = distance(rules, column)
        return far is not None and far < rules.shift / 2 and conforms(rules, column)

    def _misfit(self, name: str) -> float:
        """Return how badly a column fits its own rules: 1 if its values cannot be what they should."""
        rules, column = self._contract.columns[name], self._table.columns[name]
        hard = self._rules[name] & {"kind", "range", "categories", "numbers"}
        return 1.0 if hard and not conforms(rules, column) else self._own[name] or 0.0

    def _swaps(self, names: Sequence[str]) -> dict[str, str]:
        """Return the pairs of columns that fit each other's rules, and not their own, in both directions."""
        odd = sorted((name for name in names if self._is_odd(name)), key=self._misfit, reverse=True)[:MOST_COMPARED]
        found = []
        for at, one in enumerate(odd):
            for other in odd[at + 1 :]:
                if (far := self._swap(one, other)) is not None:
                    found.append((far, one, other))
        pairs: dict[str, str] = {}
        for _, one, other in sorted(found):
            if one not in pairs and other not in pairs:
                pairs |= {one: other, other: one}
        return pairs

    def _is_odd(self, name: str) -> bool:
        return self._broken[name] or self._misfit(name) > max(0.1, self._chance(name))

    def _swap(self, one: str, other: str) -> float | None:
        """Return how far two columns are from each other's rules; None if they are not swapped."""
        crossed = self._distance(one, other), self._distance(other, one)
        own = self._misfit(one), self._misfit(other)
        is_certain = self._broken[one] or self._broken[other]
        for name, far, here in zip((one, other), crossed, own, strict=True):
            most = max(0.05, self._chance(name))
            if far is None or far > here / (2 if is_certain else 3) or (not is_certain and far > most):
                return None
        columns, rules = self._table.columns, self._contract.columns
        if not (conforms(rules[one], columns[other]) and conforms(rules[other], columns[one])):
            return None
        return (crossed[0] or 0.0) + (crossed[1] or 0.0)

    def _in_place_of(self, name: str) -> str:
        """Return which other column the values of this one belong to, such as when several have moved."""
        column = self._table.columns[name]
        others = [each for each in self._own if each != name and self._broken[each] and self._fits(each, name)]
        near = sorted((distance(self._contract.columns[each], column) or 0.0, each) for each in others)
        if not near or near[0][0] > (self._misfit(name)) / 3:
            return ""
        return f"the values are those of column {near[0][1]!r}: columns may have moved"

    def _known_unit(self, rules: ColumnRules, column: ColumnProfile, *, is_certain: bool) -> Breach | None:
        """Return the change of unit that explains the numbers; None if none does.

        Args:
            rules: those of the column.
            column: the column.
            is_certain: whether a rule is broken, so that something must be wrong.
        """
        own, chance = self._own[rules.name], self._chance(rules.name)
        if own is None or not _is_measured(rules, column):
            return None
        if own < (max(0.1, 0.7 * chance) if is_certain else max(rules.shift / 2, 1.2 * chance)):
            return None
        exact = _exact(chance)
        if not is_certain:
            found = self._best(rules, column, conversions(), min(own / 4, exact))
            return None if found is None else found.breach(rules, own)
        # A site may differ in more than the unit; but then no factor that is not known may fit much better.
        known = self._best(rules, column, conversions(), max(exact, min(own / 3, 0.6 * rules.shift)))
        better = self._best(rules, column, _fitted(rules, column, fitted_factor), exact)
        if known is None or (better is not None and known.far > exact and not known.is_near(better)):
            known = better
        return None if known is None else known.breach(rules, own)

    def _unknown_unit(self, rules: ColumnRules, column: ColumnProfile) -> Breach | None:
        """Return the linear change that explains the numbers; None if none does."""
        own = self._own[rules.name]
        if own is None or own < max(0.1, 0.7 * self._chance(rules.name)) or not _is_measured(rules, column):
            return None
        found = self._best(rules, column, _fitted(rules, column, fitted_change), _exact(self._chance(rules.name)))
        return None if found is None else found.breach(rules, own)

    def _best(
        self, rules: ColumnRules, column: ColumnProfile, changes: Sequence[Conversion], limit: float
    ) -> _Fit | None:
        """Return the change under which the numbers are nearest to the reference's, within a limit."""
        # Fits that chance could exchange count as equal; then the one with the unit of the contract is chosen.
        step = max(0.01, self._chance(rules.name) / 4)
        fits: list[tuple[int, bool, float, int, Conversion]] = []
        for change in changes:
            numbers = change.back(column.numbers)
            numbers = numbers if numbers[0] <= numbers[-1] else numbers[::-1]
            far = of_numbers(rules, numbers)
            if far <= limit and _mostly_in_range(rules, numbers):
                fits.append(
                    (round(far / step), bool(rules.unit) and not change.fits(rules.unit), far, len(fits), change)
                )
        if not fits:
            return None
        _, _, far, _, change = min(fits)
        return _Fit(change, far)

    def _of_codes(self, rules: ColumnRules, column: ColumnProfile) -> str:
        """Return which numbers stand for missing values, if these alone break the rules."""
        bounds = rules.range or rules.usual
        if not rules.is_numeric or bounds is None or not column.outside + column.unusual:
            return ""
        found = {code: count for code, count in column.codes.items() if not bounds[0] <= code <= bounds[1]}
        if rules.usual is not None and not column.outside:
            found = {code: n for code, n in column.codes.items() if not rules.usual[0] <= code <= rules.usual[1]}
        told = sum(found.values())
        if not told or (column.outside and told < 0.9 * column.outside):
            return ""
        rest = column.numbers[~np.isin(column.numbers, list(found))]
        if not len(rest) or (rules.profile and of_numbers(rules, rest) > max(rules.shift, self._chance(rules.name))):
            return ""
        codes = " and ".join(number_text(code) for code in sorted(found))
        values = self._telling.counted(told, column.present, "values")
        return f"{codes} as a code for missing values ({values})"

    def _of_texts(self, rules: ColumnRules, column: ColumnProfile) -> str:
        """Return how the texts of a column are written otherwise than expected."""
        if rules.categories:
            return encodings.of_categories(rules, column, self._telling)
        if rules.is_numeric and column.texts:
            return encodings.of_numbers(column)
        if rules.kind == "text" and exceeds(column.count, column.present, rules.numbers):
            is_all = column.count == column.present
            return "numbers in place of texts" if is_all else "numbers and texts are mixed"
        return ""

    def _flipped(self, rules: ColumnRules, column: ColumnProfile) -> Breach | None:
        """Return that two categories are exchanged, if that explains their shares."""
        shares, own = rules.shares, self._own[rules.name]
        if len(shares) != 2 or own is None or own < max(rules.shift / 2, 1.2 * self._chance(rules.name)):
            return None
        one, other = shares
        seen = [column.categories.get(value, 0) / column.present for value in (other, one)]
        far = (abs(seen[0] - shares[one]) + abs(seen[1] - shares[other])) / 2
        if far > own / 4:
            return None
        found = f"the shares of {one} and {other} differ by {distance_text(own)}, but exchanged by {distance_text(far)}"
        return Breach(rules.name, "codes", found, "the codes of the reference", f"{one} and {other} may be exchanged")


@dataclass(frozen=True, slots=True)
class _Fit:
    """A change of the unit, and how far the numbers are from the reference's after it."""

    change: Conversion
    far: float

    def is_near(self, other: _Fit) -> bool:
        """Return True if two changes are about the same factor."""
        one, another = (each.change.back(np.ones(1))[0] for each in (self, other))
        return bool(one > 0 and abs(np.log(one / another)) < 0.1)

    def breach(self, rules: ColumnRules, own: float) -> Breach:
        """Return the broken rule, with the change as its cause."""
        text = self.change.text
        found = f"the numbers differ by {distance_text(own)}, but with {text} by {distance_text(self.far)}"
        cause = f"other unit: {self.change.described(rules.unit)}"
        return Breach(rules.name, "unit", found, rules.unit or "the unit of the reference", cause)


def _is_measured(rules: ColumnRules, column: ColumnProfile) -> bool:
    return rules.kind in ("int", "float") and bool(rules.profile) and len(column.numbers) > 0


def _fitted(
    rules: ColumnRules, column: ColumnProfile, fit: Callable[[Numbers, Numbers], tuple[Conversion, ...]]
) -> tuple[Conversion, ...]:
    """Return the change that fits the quantiles of a column best."""
    marks, levels = np.array(rules.profile).T
    inner = (levels > 0) & (levels < 1)
    return fit(marks[inner], np.quantile(column.numbers, levels[inner])) if inner.any() else ()


def _exact(chance: float) -> float:
    """Return the largest distance between numbers and the reference's if only the unit differs."""
    return max(0.04, min(0.2, 0.6 * chance))


def _mostly_in_range(rules: ColumnRules, numbers: Numbers) -> bool:
    if rules.range is None:
        return True
    return bool(((numbers >= rules.range[0]) & (numbers <= rules.range[1])).mean() >= 0.9)


def _plain(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())

"""The profile of a table: what its columns hold, in one pass and in memory that does not grow with the rows.

A profile holds values of the site's people. It stays where it was made; what may leave is in :mod:`report`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from flare_stats.contract.model import ColumnRules, Contract
from flare_stats.contract.sample import Repetitions, Sample
from flare_stats.contract.statistics import exceeds
from flare_stats.contract.values import Values, canonical, canonical_number, mixed, number_of, values_of

MOST_CATEGORIES = 200
"""Different values that are counted one by one; a column with more of them has no categories."""

MOST_WORDS = 2000
CODES = np.array([-99999.0, -9999.0, -999.0, -99.0, -9.0, -1.0, 99.0, 999.0, 9999.0, 99999.0, 999999.0])
"""Numbers that often stand for a missing value."""

Numbers = npt.NDArray[np.float64]


@dataclass(slots=True)
class ColumnProfile:
    """The content of a column.

    Attributes:
        name: the column's name.
        rows, missing: numbers of values, and of missing ones.
        count: how many values are numbers or moments.
        spelled: how many of these were text.
        texts: how many values are other texts.
        is_time, is_bool, is_opaque: what the values are.
        fractional: how many numbers are not whole.
        low, high: the smallest and the largest number.
        numbers: numbers in ascending order; a sample if there are many.
        lengths: lengths of texts, likewise.
        categories: counts of the values as categories, if these are few, and always of the contract's.
        rest: how many values are not in ``categories``.
        words: counts of the first different texts, of at most 100 characters each.
        codes: counts of numbers that often stand for a missing value.
        outside, unusual: how many numbers are outside of the contract's ``range`` and ``usual``.
        repeated: how many values repeat an earlier one, if the contract asks for it.
    """

    name: str
    rows: int = 0
    missing: int = 0
    count: int = 0
    spelled: int = 0
    texts: int = 0
    is_time: bool = False
    is_bool: bool = False
    is_opaque: bool = False
    fractional: int = 0
    low: float = np.inf
    high: float = -np.inf
    numbers: Numbers = field(default_factory=lambda: np.empty(0))
    lengths: Numbers = field(default_factory=lambda: np.empty(0))
    categories: dict[str, int] = field(default_factory=dict)
    rest: int = 0
    words: dict[str, int] = field(default_factory=dict)
    codes: dict[float, int] = field(default_factory=dict)
    outside: int = 0
    unusual: int = 0
    repeated: int = 0

    @property
    def is_integral(self) -> bool:
        """True if all numbers are whole, but for one in a hundred."""
        return not exceeds(self.fractional, self.count, 0.01)

    @property
    def present(self) -> int:
        """How many values are not missing."""
        return self.rows - self.missing


@dataclass(frozen=True, slots=True)
class TableProfile:
    """The content of a table.

    Attributes:
        columns: the profiles of its columns, in their order.
        rows: the number of rows.
        repeated_rows: how many rows repeat an earlier one.
        repeated_keys: the same by the columns of each key.
    """

    columns: Mapping[str, ColumnProfile]
    rows: int
    repeated_rows: int = 0
    repeated_keys: Mapping[tuple[str, ...], int] = field(default_factory=dict)


def profile_of(
    names: Iterable[str], chunks: Iterable[pa.RecordBatch], contract: Contract | None = None
) -> TableProfile:
    """Read a table.

    Args:
        names: the names of its columns.
        chunks: its rows.
        contract: the contract that the table is compared with, whose bounds and categories are counted exactly.
    """
    rules = {} if contract is None else contract.columns
    label = None if contract is None or contract.label is None else contract.label.column
    makers = {name: _Maker(name, rules.get(name), is_label=name == label) for name in names}
    keys = () if contract is None else contract.keys
    of_rows, of_keys = Repetitions(), {key: Repetitions() for key in keys}
    in_rows = [name for name in makers if contract is None or name in rules]
    rows = 0
    for chunk in chunks:
        rows += chunk.num_rows
        hashes = {name: maker.add(chunk.column(name)) for name, maker in makers.items()}
        of_rows.add(_of_rows([hashes[name] for name in in_rows], chunk.num_rows))
        for key, repetitions in of_keys.items():
            if all(name in hashes for name in key):
                repetitions.add(_of_rows([hashes[name] for name in key], chunk.num_rows))
    columns = {name: maker.result() for name, maker in makers.items()}
    return TableProfile(columns, rows, of_rows.count, {key: each.count for key, each in of_keys.items()})


def _of_rows(columns: list[npt.NDArray[np.uint64]], rows: int) -> npt.NDArray[np.uint64]:
    found = np.full(rows, 1, np.uint64)
    for column in columns:
        found = mixed(found * np.uint64(0x9E3779B97F4A7C15) + column)
    return found


class _Maker:
    """Makes the profile of a column, chunk by chunk."""

    def __init__(self, name: str, rules: ColumnRules | None, *, is_label: bool) -> None:
        self._made = ColumnProfile(name)
        self._rules = rules
        self._numbers, self._lengths = Sample(), Sample()
        self._repetitions = Repetitions() if rules is None or rules.repeated < 1 or is_label else None
        self._counts: dict[str, int] = dict.fromkeys(rules.categories if rules else (), 0)
        self._known = set(self._counts)
        self._has_many = False  # different values

    def add(self, array: pa.Array) -> npt.NDArray[np.uint64]:
        """Add a chunk of the column; return the hashes of its values."""
        values, made = values_of(array), self._made
        made.rows += values.rows
        made.missing += values.missing
        made.count += len(values.numbers)
        made.spelled += values.spelled
        made.texts += sum(values.texts.values())
        made.is_time |= values.is_time
        made.is_bool |= values.is_bool
        made.is_opaque |= values.is_opaque
        self._add_numbers(values)
        if values.texts:
            lengths = np.array([len(text) for text in values.texts], np.float64)
            self._lengths.add(np.repeat(lengths, list(values.texts.values())))
            for text, count in values.texts.items():
                word = text[:100]
                if word in made.words or len(made.words) < MOST_WORDS:
                    made.words[word] = made.words.get(word, 0) + count
        self._add_categories(values)
        if self._repetitions is not None and not values.is_opaque:
            self._repetitions.add(values.present_hashes)
        return values.hashes

    def result(self) -> ColumnProfile:
        """Return the profile, after the last chunk."""
        made = self._made
        made.numbers, made.lengths = self._numbers.sorted(), self._lengths.sorted()
        made.categories = {value: count for value, count in self._counts.items() if count or value in self._known}
        made.rest = made.present - sum(made.categories.values())
        made.repeated = 0 if self._repetitions is None else self._repetitions.count
        return made

    def _add_numbers(self, values: Values) -> None:
        numbers, made, rules = values.numbers, self._made, self._rules
        if not len(numbers):
            return
        made.low, made.high = min(made.low, float(numbers.min())), max(made.high, float(numbers.max()))
        made.fractional += int((numbers != np.floor(numbers)).sum())
        self._numbers.add(numbers)
        for code in CODES[(numbers.min() <= CODES) & (numbers.max() >= CODES)].tolist():
            if count := int((numbers == code).sum()):
                made.codes[code] = made.codes.get(code, 0) + count
        if rules is not None and rules.range is not None:
            made.outside += int(((numbers < rules.range[0]) | (numbers > rules.range[1])).sum())
        if rules is not None and rules.usual is not None:
            made.unusual += int(((numbers < rules.usual[0]) | (numbers > rules.usual[1])).sum())

    def _add_categories(self, values: Values) -> None:
        if values.is_opaque or values.is_time or (self._has_many and not self._known):
            return
        found = {canonical(text): count for text, count in values.texts.items()}
        if values.is_bool:
            ones = int(values.numbers.sum())
            found = {"true": ones, "false": len(values.numbers) - ones}
        elif len(values.numbers):
            numbers, counts = np.unique(values.numbers, return_counts=True)
            if self._has_many or len(numbers) > MOST_CATEGORIES:
                self._has_many = True
                known = [number for each in self._known if (number := number_of(each)) is not None]
                is_known = np.isin(numbers, known)
                numbers, counts = numbers[is_known], counts[is_known]
            for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
                found[canonical_number(number)] = found.get(canonical_number(number), 0) + count
        for value, count in found.items():
            if value in self._known or not self._has_many:
                self._counts[value] = self._counts.get(value, 0) + count
        if len(self._counts) > MOST_CATEGORIES + len(self._known):
            self._has_many = True
            self._counts = {value: self._counts[value] for value in self._known}

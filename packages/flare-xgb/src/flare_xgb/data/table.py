"""Table: the rows of one site, in the form that training uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flare_xgb.data.errors import DataError

Category = str | int | float
Floats = NDArray[np.float32]

TYPES = ("float", "int", "i", "q", "c")
"""XGBoost's types of features: ``i`` is an indicator (0 or 1), ``q`` a quantity and ``c`` a category."""

ROW_COLUMNS = ("label", "weight", "base_margin", "qid", "label_lower_bound", "label_upper_bound")
"""The columns of a table that are not features."""


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Features and labels of the rows of one site; use :meth:`of`, which converts and checks.

    Arrays are not copied when a table is made of them, and must not change afterwards.

    Args:
        features: (n, f), C-contiguous; NaN is a missing value. n may be 0. A category is its place in ``categories``.
        names: of the features; empty if they have none, as in XGBoost.
        types: of the features, each one of :data:`TYPES`.
        categories: of each feature of type ``c``, by its place: distinct texts or numbers in the order of their codes.
        label: (n,).
        weight: (n,), at least 0; with ``qid``, one for each group.
        base_margin: (n,) or (n, outputs), what prediction begins with in place of the base score.
        qid: (n,), never falling; rows of equal value are a group of a ranking.
        label_lower_bound: (n,), of the times of a censored regression.
        label_upper_bound: (n,); infinity if the event has not happened.
    """

    features: Floats
    names: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    categories: Mapping[int, tuple[Category, ...]] = field(default_factory=dict)
    label: Floats | None = None
    weight: Floats | None = None
    base_margin: Floats | None = None
    qid: NDArray[np.int64] | None = None
    label_lower_bound: Floats | None = None
    label_upper_bound: Floats | None = None

    @classmethod
    def of(
        cls,
        features: Any,
        label: Any = None,
        *,
        names: Sequence[str] = (),
        types: Sequence[str] = (),
        categories: Mapping[int, Sequence[Category]] | None = None,
        missing: float = float("nan"),
        **columns: Any,
    ) -> Table:
        """Make a table of arrays.

        Args:
            features: (n, f), numbers.
            label: (n,), numbers.
            names, types, categories: as above. ``float`` is the type of features without one; a feature of type ``c``
                without ``categories`` has the categories 0, 1, … up to its largest value.
            missing: the value that stands for a missing one, beside NaN.
            columns: ``weight``, ``base_margin``, ``qid``, ``label_lower_bound`` or ``label_upper_bound``.
        Raises:
            DataError: shapes do not fit, or a column has values that training cannot use; names the column.
        """
        if unknown := sorted(set(columns) - set(ROW_COLUMNS)):
            raise DataError(f"a table has no column {unknown[0]!r}; it has {', '.join(ROW_COLUMNS)}")
        matrix = _matrix(features, names, missing)
        types = tuple(types) or ("float",) * matrix.shape[1]
        made = cls(
            features=matrix,
            names=tuple(names),
            types=types,
            categories=_categories(matrix, types, categories or {}),
            label=_numbers(label, "label"),
            qid=_groups(columns.pop("qid", None)),
            **{name: _numbers(value, name) for name, value in columns.items()},
        )
        _check(made)
        return made

    def __len__(self) -> int:
        return int(self.features.shape[0])

    @property
    def num_features(self) -> int:
        """The number of features."""
        return int(self.features.shape[1])

    def name(self, feature: int) -> str:
        """Return the name of a feature; ``f3``, for example, if it has none."""
        return self.names[feature] if self.names else f"f{feature}"

    @property
    def group_starts(self) -> NDArray[np.int64]:
        """The first row of each group of a ranking, and at the end the number of rows; (groups + 1,)."""
        if self.qid is None:
            return np.array([0, len(self)], np.int64)
        changes = np.flatnonzero(np.diff(self.qid)) + 1
        starts = np.concatenate(([0], changes, [len(self)])) if len(self) else np.zeros(1)
        return starts.astype(np.int64)

    @property
    def row_weight(self) -> Floats | None:
        """The weight of each row, in a ranking that of its group; None if there are no weights."""
        if self.weight is None or self.qid is None:
            return self.weight
        return np.repeat(self.weight, np.diff(self.group_starts))

    def take(self, rows: Any) -> Table:
        """Return a table of some of the rows, given as a slice, as indices or as a mask.

        Raises:
            DataError: the table has groups, whose rows belong together.
        """
        if self.qid is not None:
            raise DataError("the rows of a table with qid belong together in groups; it cannot be divided by rows")
        parts = {name: value[rows] for name in ROW_COLUMNS if (value := getattr(self, name)) is not None}
        return replace(self, features=np.ascontiguousarray(self.features[rows]), **parts)

    def with_columns(self, **columns: Any) -> Table:
        """Return this table with other columns, such as ``base_margin``, converted and checked.

        Raises:
            DataError: as :meth:`of`.
        """
        converted: dict[str, Any] = {
            name: _groups(each) if name == "qid" else _numbers(each, name) for name, each in columns.items()
        }
        made = replace(self, **converted)
        _check(made)
        return made

    def with_categories(self, categories: Mapping[int, Sequence[Category]]) -> Table:
        """Return this table with its categories at other places.

        Args:
            categories: of every feature of type ``c``, with at least those that occur in this table's rows.
        Raises:
            DataError: a row has a category that is not among them; names the column and the category.
        """
        features, copied = self.features, False
        for feature, own in self.categories.items():
            wanted = {category: code for code, category in enumerate(categories[feature])}
            codes = np.array([wanted.get(category, -1) for category in own], np.float32)
            if np.array_equal(codes, np.arange(len(own))):
                continue
            if not copied:
                features, copied = features.copy(), True
            column = features[:, feature]
            present = ~np.isnan(column)
            recoded = codes[column[present].astype(np.int64)]
            if (recoded < 0).any():
                lost = own[int(column[present][recoded < 0][0])]
                raise DataError(f"column {self.name(feature)!r} has the unknown category {lost!r}")
            column[present] = recoded
        return replace(self, features=features, categories={at: tuple(each) for at, each in categories.items()})


def _matrix(features: Any, names: Sequence[str], missing: float) -> Floats:
    wide = np.asarray(features)
    if wide.ndim != 2 or wide.dtype.kind not in "fiub":
        raise DataError(f"features are {wide.dtype} of shape {wide.shape}; give numbers of shape (rows, features)")
    with np.errstate(over="ignore"):
        matrix = np.ascontiguousarray(wide, np.float32)
    if not np.isnan(missing):
        matrix = np.where(wide == missing, np.float32(np.nan), matrix)
    if infinite := np.flatnonzero(np.isinf(matrix).any(axis=0)).tolist():
        name = names[infinite[0]] if len(names) > infinite[0] else f"f{infinite[0]}"
        raise DataError(
            f"column {name!r} holds infinity, or a number too large for 32 bits; replace it, or leave it out"
        )
    return matrix


def _numbers(value: Any, name: str) -> Floats | None:
    if value is None:
        return None
    wide = np.asarray(value)
    if wide.dtype.kind not in "fiub":
        raise DataError(f"{name} is {wide.dtype}; give numbers")
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(wide, np.float32)


def _groups(qid: Any) -> NDArray[np.int64] | None:
    if qid is None:
        return None
    given = np.asarray(qid)
    whole = given.astype(np.int64) if given.dtype.kind in "iub" or np.isfinite(given).all() else None
    if whole is None or not np.array_equal(whole, given):
        raise DataError(f"qid is {given.dtype} with values that are not integers; number the groups")
    return whole


def _categories(
    matrix: Floats, types: tuple[str, ...], given: Mapping[int, Sequence[Category]]
) -> dict[int, tuple[Category, ...]]:
    made: dict[int, tuple[Category, ...]] = {}
    for feature in (at for at, each in enumerate(types) if each == "c" and at < matrix.shape[1]):
        if feature in given:
            made[feature] = tuple(given[feature])
        else:
            column = matrix[:, feature]
            made[feature] = tuple(range(int(np.nanmax(column, initial=-1)) + 1)) if not np.isnan(column).all() else ()
    return made


def _check(table: Table) -> None:
    rows, width = table.features.shape
    for what, count in (("names", len(table.names)), ("types", len(table.types))):
        if count not in ((0, width) if what == "names" else (width,)):
            raise DataError(f"there are {count} {what} for {width} features")
    if len(set(table.names)) < len(table.names):
        twice = next(name for name in table.names if table.names.count(name) > 1)
        raise DataError(f"two features are named {twice!r}; rename one")
    if unknown := sorted(set(table.types) - set(TYPES)):
        raise DataError(f"a feature has the type {unknown[0]!r}; the types are {', '.join(TYPES)}")
    for feature, categories in table.categories.items():
        _check_codes(table.features[:, feature], categories, table.name(feature))
    _check_row_columns(table, rows)


def _check_codes(column: Floats, categories: tuple[Category, ...], name: str) -> None:
    codes = column[~np.isnan(column)]
    if len(set(categories)) < len(categories):
        raise DataError(f"column {name!r} has a category twice: {categories}")
    if len(codes) and (codes.min() < 0 or codes.max() >= len(categories) or (codes != np.floor(codes)).any()):
        raise DataError(
            f"column {name!r} is of type 'c' with {len(categories)} categories, but has values that are not integers"
            f" from 0 to {len(categories) - 1}"
        )


def _check_row_columns(table: Table, rows: int) -> None:
    groups = len(table.group_starts) - 1
    if table.qid is not None and (np.diff(table.qid) < 0).any():
        raise DataError("qid falls from a row to the next; sort the rows by qid")
    for name in ROW_COLUMNS:
        value = getattr(table, name)
        if value is None:
            continue
        wanted = groups if name == "weight" and table.qid is not None else rows
        if len(value) != wanted or (value.ndim != 1 and name != "base_margin"):
            what = "groups" if wanted == groups and table.qid is not None and name == "weight" else "rows"
            raise DataError(f"{name} has shape {value.shape} for {wanted} {what}")
        bad = ~np.isfinite(value) if name != "label_upper_bound" else np.isnan(value)
        if name == "weight":
            bad |= value < 0
        if bad.any():
            first = np.argwhere(bad)[0]
            raise DataError(f"{name} is {value[tuple(first)]} in row {first[0]}; correct it, or leave out that row")

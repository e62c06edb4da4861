"""Tables from data frames of pandas and tables of Arrow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from flare_xgb.data.errors import DataError
from flare_xgb.data.table import Category, Table


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The parts that the columns of a file or of a data frame play.

    Args:
        label: the name of the column with the labels, which are numbers: of classes, 0, 1, …
        features: the names of the features, in the order in which all sites have them; None means all other columns,
            in their order.
        categorical: the features that are categories, besides those that the data frame itself holds as such. Their
            values are texts or integers.
        weight: the column of weights.
        base_margin: the column of what prediction begins with; several columns for several outputs.
        qid: the column with the number of a row's group, for rankings. Rows are sorted by it; a weight must be the same
            for all rows of a group.
        label_lower_bound: the column with the lower bound of the time, for censored regression.
        label_upper_bound: the column with its upper bound.
        missing: a number that stands for a missing value of a feature, besides NaN.
    """

    label: str | None = None
    features: Sequence[str] | None = None
    categorical: Sequence[str] = ()
    weight: str | None = None
    base_margin: str | Sequence[str] | None = None
    qid: str | None = None
    label_lower_bound: str | None = None
    label_upper_bound: str | None = None
    missing: float = field(default=float("nan"))

    def roles(self) -> dict[str, str]:
        """Return the column of each part of a table that is one column of numbers."""
        names = ("label", "weight", "qid", "label_lower_bound", "label_upper_bound")
        return {name: column for name in names if (column := getattr(self, name)) is not None}

    def margins(self) -> list[str]:
        """Return the columns of the base margin."""
        if self.base_margin is None:
            return []
        return [self.base_margin] if isinstance(self.base_margin, str) else list(self.base_margin)

    def features_of(self, present: Sequence[str]) -> list[str]:
        """Return the names of the features, given the names of all columns.

        Raises:
            DataError: a column that is asked for is not there; names it.
        """
        other = [*self.roles().values(), *self.margins()]
        features = list(self.features) if self.features is not None else [each for each in present if each not in other]
        for name in [*other, *features, *self.categorical]:
            if name not in present:
                raise DataError(f"there is no column {name!r}; the columns are {_listed(present)}")
        if both := [name for name in features if name in other]:
            raise DataError(f"column {both[0]!r} is given both as a feature and as something else; name it once")
        if stray := [name for name in self.categorical if name not in features]:
            raise DataError(f"categorical names {stray[0]!r}, which is not a feature")
        return features


def from_pandas(frame: Any, columns: Columns | None = None) -> Table:
    """Make a table of a data frame; the names of its columns are those of the features.

    Numbers, booleans and categories are features; text is so only if ``categorical`` names the column.

    Raises:
        DataError: names the column that is missing or has values that cannot be used.
    """
    columns = columns or Columns()
    present = [str(name) for name in frame.columns]
    if len(set(present)) < len(present):
        raise DataError(f"two columns are named {next(name for name in present if present.count(name) > 1)!r}")
    by_name = {name: frame.iloc[:, at] for at, name in enumerate(present)}
    return _assembled(len(frame), by_name, columns, _pandas_feature, _pandas_numbers)


def from_arrow(arrow: Any, columns: Columns | None = None) -> Table:
    """Make a table of an Arrow table or record batch; otherwise as :func:`from_pandas`.

    Columns of dictionaries are categories. Columns are converted one at a time, so that no second copy of the whole is
    made.

    Raises:
        DataError: as there.
    """
    columns = columns or Columns()
    present = list(arrow.schema.names)
    if len(set(present)) < len(present):
        raise DataError(f"two columns are named {next(name for name in present if present.count(name) > 1)!r}")
    by_name = {name: arrow.column(at) for at, name in enumerate(present)}
    return _assembled(arrow.num_rows, by_name, columns, _arrow_feature, _arrow_numbers)


def _assembled(rows: int, by_name: Mapping[str, Any], columns: Columns, feature_of: Any, numbers_of: Any) -> Table:
    names = columns.features_of(list(by_name))
    parts = {part: numbers_of(by_name[column], column) for part, column in columns.roles().items()}
    if margins := columns.margins():
        stacked = np.column_stack([numbers_of(by_name[each], each) for each in margins])
        parts["base_margin"] = stacked[:, 0] if isinstance(columns.base_margin, str) else stacked
    matrix = np.empty((rows, len(names)), np.float32)
    types: list[str] = []
    categories: dict[int, tuple[Category, ...]] = {}
    for at, name in enumerate(names):
        values, kind, found = feature_of(by_name[name], name, name in columns.categorical)
        with np.errstate(over="ignore"):
            matrix[:, at] = values
        if kind != "c" and not np.isnan(columns.missing):
            matrix[values == columns.missing, at] = np.nan
        types.append(kind)
        if kind == "c":
            categories[at] = found
    matrix, parts = _sorted_by_group(matrix, parts)
    return Table.of(matrix, names=names, types=types, categories=categories, **parts)


def _sorted_by_group(matrix: Any, parts: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    if "qid" not in parts:
        return matrix, parts
    if (np.diff(parts["qid"]) < 0).any():
        order = np.argsort(parts["qid"], kind="stable")
        matrix, parts = matrix[order], {name: value[order] for name, value in parts.items()}
    if "weight" in parts:
        starts = np.flatnonzero(np.concatenate(([True], np.diff(parts["qid"]) != 0)))[: len(matrix)]
        sizes = np.diff(np.append(starts, len(matrix)))
        weights = parts["weight"][starts]
        if not np.array_equal(np.repeat(weights, sizes), parts["weight"]):
            raise DataError("the rows of a group have different weights; a ranking has one weight for each group")
        parts["weight"] = weights
    return matrix, parts


# pandas


def _pandas_feature(series: Any, name: str, is_categorical: bool) -> tuple[Any, str, tuple[Category, ...]]:
    kind = str(getattr(series.dtype, "name", series.dtype))
    if kind == "category":
        codes = series.cat.codes.to_numpy().astype(np.float32)
        codes[codes < 0] = np.nan
        return codes, "c", tuple(_category(each, name) for each in series.cat.categories.tolist())
    if is_categorical:
        present = series.notna().to_numpy()
        return _coded(series[present].tolist(), present, name)
    if series.isna().all():
        return np.full(len(series), np.nan, np.float32), "float", ()
    if getattr(series.dtype, "kind", "O") not in "fiub":
        raise _unusable(name, kind)
    return _pandas_numbers(series, name, missing=True), _type_of(series.dtype.kind), ()


def _pandas_numbers(series: Any, name: str, *, missing: bool = False) -> Any:
    if getattr(series.dtype, "kind", "O") not in "fiub" and len(series):
        raise DataError(f"column {name!r} is {series.dtype}; it must hold numbers")
    if series.dtype.kind == "b" and not series.isna().any():
        return series.to_numpy(dtype=np.float32)
    return series.to_numpy(dtype=np.float64, na_value=np.nan) if len(series) else np.empty(0)


# Arrow


def _arrow_feature(column: Any, name: str, is_categorical: bool) -> tuple[Any, str, tuple[Category, ...]]:
    import pyarrow as pa  # an extra; only who has an Arrow table needs it

    if pa.types.is_dictionary(column.type):
        whole = column.unify_dictionaries().combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        codes = whole.indices.to_numpy(zero_copy_only=False).astype(np.float32)
        return codes, "c", tuple(_category(each, name) for each in whole.dictionary.to_pylist())
    if is_categorical:
        present = ~column.is_null().to_numpy(zero_copy_only=False)
        return _coded([each for each in column.to_pylist() if each is not None], present, name)
    if column.null_count == len(column):
        return np.full(len(column), np.nan, np.float32), "float", ()
    if not _is_number(column.type):
        raise _unusable(name, str(column.type))
    kind = "f" if pa.types.is_floating(column.type) else "b" if pa.types.is_boolean(column.type) else "i"
    return _arrow_numbers(column, name), _type_of(kind), ()


def _arrow_numbers(column: Any, name: str) -> Any:
    import pyarrow as pa  # as above

    if not _is_number(column.type) and not pa.types.is_null(column.type):
        raise DataError(f"column {name!r} is {column.type}; it must hold numbers")
    if column.null_count == len(column):
        return np.full(len(column), np.nan)
    if column.null_count or pa.types.is_boolean(column.type):
        column = column.cast(pa.int8()) if pa.types.is_boolean(column.type) else column
        column = column.cast(pa.float64(), safe=False)
    return np.asarray(column.to_numpy())


def _is_number(kind: Any) -> bool:
    import pyarrow as pa  # as above

    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


# Both


def _type_of(kind: str) -> str:
    return {"f": "float", "b": "i"}.get(kind, "int")


def _coded(values: list[Any], present: Any, name: str) -> tuple[Any, str, tuple[Category, ...]]:
    """Code the values that are present by their place among the distinct ones, sorted."""
    cleaned = [_category(each, name) for each in values]
    if len({isinstance(each, str) for each in cleaned}) > 1:
        raise DataError(f"column {name!r} has both texts and numbers as categories; make them all text")
    found = tuple(sorted(set(cleaned)))  # all text, or all numbers
    places = {category: code for code, category in enumerate(found)}
    codes = np.full(len(present), np.nan, np.float32)
    codes[present] = [places[each] for each in cleaned]
    return codes, "c", found


def _category(value: Any, name: str) -> Category:
    """Return one category as text, or as an integer if it is one, whatever the site holds it as."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        raise DataError(f"column {name!r} has the category {value!r}; categories are texts or numbers")
    return int(value) if float(value).is_integer() else float(value)


def _unusable(name: str, kind: str) -> DataError:
    return DataError(
        f"column {name!r} is {kind}; name it in categorical if its values are categories, or leave it out of features"
    )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:20])
    return shown if len(names) <= 20 else f"{shown} and {len(names) - 20} more"

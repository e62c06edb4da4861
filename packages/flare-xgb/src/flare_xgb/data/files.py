"""Tables from files: CSV, Parquet, Arrow and libsvm."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from flare_xgb.data.errors import DataError
from flare_xgb.data.frames import Columns, from_arrow, from_pandas
from flare_xgb.data.table import Floats, Table


def read_table(path: str | Path, columns: Columns | None = None) -> Table:
    """Read a file in the format that the end of its name says: csv, parquet, arrow, feather, libsvm or svm.

    A name may end in ``.gz`` besides if the format is csv.

    Raises:
        DataError: the file does not exist, has another ending, or cannot be used; names it.
    """
    path = Path(path)
    endings = [ending.lower() for ending in path.suffixes if ending.lower() not in (".gz", ".bz2", ".xz", ".zst")]
    match endings[-1:]:
        case [".csv" | ".tsv"]:
            return read_csv(path, columns, separator="\t" if endings[-1] == ".tsv" else ",")
        case [".parquet" | ".pq"]:
            return read_parquet(path, columns)
        case [".arrow" | ".feather" | ".ipc"]:
            return read_arrow(path, columns)
        case [".libsvm" | ".svm" | ".svmlight"]:
            return read_libsvm(path)
    raise DataError(f"{path}: end the name in .csv, .parquet, .arrow, .feather or .libsvm, or use a loader of your own")


def read_csv(path: str | Path, columns: Columns | None = None, *, separator: str = ",") -> Table:
    """Read a CSV file whose first line names the columns; empty fields are missing values.

    Args:
        path: of the file.
        columns: the parts that the columns play.
        separator: one character.
    Raises:
        DataError: the file does not exist or cannot be used; names it.
    """
    columns, pandas = columns or Columns(), _extra("pandas", "pandas", path)
    path = _existing(path)
    text = {name: str for name in columns.categorical}  # "01" and "1" may be different categories
    try:
        frame = pandas.read_csv(path, sep=separator, dtype=text, low_memory=False)
    except (ValueError, pandas.errors.EmptyDataError) as error:
        raise DataError(f"{path}: {error}") from error
    for name in columns.categorical:
        if name in frame and frame[name].isna().all():
            frame[name] = frame[name].astype("float64")
    try:
        return from_pandas(frame, columns)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def read_parquet(path: str | Path, columns: Columns | None = None) -> Table:
    """Read a Parquet file, and of it only the columns that are used.

    Raises:
        DataError: the file does not exist or cannot be used; names it.
    """
    columns = columns or Columns()
    arrow, parquet = (_extra(each, "parquet", path) for each in ("pyarrow", "pyarrow.parquet"))
    path = _existing(path)
    try:
        names = parquet.read_schema(path).names
        used = None
        if columns.features is not None:
            used = [*columns.features_of(names), *columns.roles().values(), *columns.margins()]
        return from_arrow(parquet.read_table(path, columns=used), columns)
    except (DataError, arrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: {error}") from error


def read_arrow(path: str | Path, columns: Columns | None = None) -> Table:
    """Read an Arrow file, also known as Feather version 2; without compression it is not copied into memory first.

    Raises:
        DataError: the file does not exist or cannot be used; names it.
    """
    arrow = _extra("pyarrow", "parquet", path)
    path = _existing(path)
    try:
        with arrow.memory_map(str(path)) as source:
            return from_arrow(arrow.ipc.open_file(source).read_all(), columns)
    except (DataError, arrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: {error}") from error


def read_libsvm(path: str | Path, *, num_features: int | None = None, first_index: int = 0) -> Table:
    """Read lines of ``label[:weight] [qid:group] index:value …``; what is not in a line is a missing value.

    The table is dense: it needs 4 bytes for each row and feature.

    Args:
        path: of the file.
        num_features: the number of features, which all sites must agree on; None means up to the largest index.
        first_index: the index of the first feature, 0 or 1.
    Raises:
        DataError: the file does not exist, or a line cannot be read; names both.
    """
    path = _existing(path)
    rows, indices, values = [], [], []
    heads: list[tuple[float, float, float]] = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            words = line.partition("#")[0].split()
            if not words:
                continue
            try:
                label, weight, qid, pairs = _parsed(words)
            except ValueError as error:
                raise DataError(f"{path}, line {number}: {error}; write label index:value …") from None
            rows.append(np.full(len(pairs), len(heads)))
            indices.append(np.array([index for index, _ in pairs], np.int64) - first_index)
            values.append(np.array([value for _, value in pairs], np.float32))
            heads.append((label, weight, qid))
    columns = np.concatenate([np.empty(0, np.int64), *indices])
    width = int(columns.max(initial=-1)) + 1 if num_features is None else num_features
    if len(columns) and (columns.min() < 0 or columns.max() >= width):
        wrong = columns.min() if columns.min() < 0 else columns.max()
        raise DataError(
            f"{path}: index {wrong + first_index} is not one of {width} features from {first_index} on; correct"
            " num_features or first_index"
        )
    matrix = np.full((len(heads), width), np.nan, np.float32)
    matrix[np.concatenate([np.empty(0, np.int64), *rows]), columns] = np.concatenate([np.empty(0, np.float32), *values])
    try:
        return _with_heads(matrix, heads)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _parsed(words: list[str]) -> tuple[float, float, float, list[tuple[int, float]]]:
    label, _, weight = words[0].partition(":")
    rest, qid = words[1:], math.nan
    if rest and rest[0].startswith("qid:"):
        qid, rest = int(rest[0].removeprefix("qid:")), rest[1:]
    pairs = [(int(index), float(value)) for index, _, value in (word.partition(":") for word in rest)]
    return float(label), float(weight) if weight else math.nan, qid, pairs


def _with_heads(matrix: Floats, heads: list[tuple[float, float, float]]) -> Table:
    label, weight, qid = (np.array([head[at] for head in heads]) for at in range(3))
    for name, given in (("weight", weight), ("qid", qid)):
        if np.isnan(given).any() and not np.isnan(given).all():
            raise DataError(f"only some lines have a {name}")
    parts: dict[str, Any] = {"label": label}
    if len(heads) and not np.isnan(qid[0]):
        parts["qid"] = qid
        if not np.isnan(weight[0]):
            parts["weight"] = weight[np.concatenate(([True], np.diff(qid) != 0))]
    elif len(heads) and not np.isnan(weight[0]):
        parts["weight"] = weight
    return Table.of(matrix, **parts)


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path.absolute()} is not a file; correct the path, which may be relative to {Path.cwd()}")
    return path


def _extra(module: str, extra: str, path: str | Path) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DataError(f"{path}: reading it needs {module}; pip install 'flare-xgb[{extra}]'") from error

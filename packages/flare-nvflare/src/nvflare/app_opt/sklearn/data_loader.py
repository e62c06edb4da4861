"""Rows of a table in a file, whose first column holds the labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from flare_core import FlareError

Rows: TypeAlias = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], int]
"""The features, the labels, and the number of rows."""

_READERS = {".csv": "read_csv", ".xls": "read_excel", ".xlsx": "read_excel"}


def load_data(data_path: str, require_header: bool = False) -> Rows:
    """Return all rows of a file.

    Args:
        data_path: the path of a CSV or Excel file.
        require_header: the first row holds the names of the columns.
    Raises:
        FlareError: the file is of another kind.
    """
    return _split(_reader(data_path)(data_path, header=0 if require_header else None))


def load_data_for_range(data_path: str, start: int, end: int, require_header: bool = False) -> Rows:
    """Return the rows from ``start`` up to but not including ``end``; other arguments as for :func:`load_data`."""
    return _split(_reader(data_path)(data_path, header=0 if require_header else None).iloc[start:end])


def _reader(path: str) -> Any:
    import pandas

    name = _READERS.get(Path(path).suffix.lower())
    if name is None:
        raise FlareError(f"{path} is neither a CSV nor an Excel file; convert it")
    return getattr(pandas, name)


def _split(table: Any) -> Rows:
    return table.iloc[:, 1:].to_numpy(), table.iloc[:, 0].to_numpy(), len(table)

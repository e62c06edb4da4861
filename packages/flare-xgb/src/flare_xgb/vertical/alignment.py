"""Rows in the order of an alignment: a file at each site that lists which of its rows all sites have.

The file is CSV with a header. The column ``first_row`` holds the row of the site's data, from 0, that stands for the
same thing as the row of the same line at the other sites. ``flare_psi.PSIRecipe`` writes such files.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flare_xgb.data import DataError, Table

_COLUMN = "first_row"


def common_rows(table: Table, path: Path, *, site: str) -> Table:
    """Return the rows of a table that all sites have, in the order that all have.

    Args:
        table: all rows of the site, in the order of the source that was aligned.
        path: of the file.
        site: the name of the site, for messages.
    Raises:
        DataError: the file is missing, or its rows cannot be those of the table.
    """
    rows = _rows(path, site)
    if len(rows) and rows.max() >= len(table):
        raise DataError(
            f"{site}: {path.name} has row {rows.max()}, but the data have {len(table)} rows; align by the file that the"
            " loader reads"
        )
    try:
        return table.take(rows)
    except DataError as error:
        raise DataError(f"{site}: {error}") from None


def _rows(path: Path, site: str) -> NDArray[np.int64]:
    if not path.is_file():
        raise DataError(f"{site}: there is no {path.name} in the run's folder, by which to align the rows")
    with path.open(encoding="utf-8", newline="") as file:
        lines = csv.DictReader(file)
        if _COLUMN not in (lines.fieldnames or ()):
            raise DataError(f"{site}: {path.name} has no column {_COLUMN!r}")
        return np.fromiter((int(line[_COLUMN]) for line in lines), np.int64)

"""A check that a site that is started again has the rows that it had before; nothing of it leaves the site."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from flare_xgb.data.errors import DataError
from flare_xgb.data.table import ROW_COLUMNS, Table

_FILE = "rows.txt"
_FACTOR = 0x9E3779B97F4A7C15  # odd, its bits well mixed


def check_same(table: Table, folder: Path, site: str) -> None:
    """Note a digest of the rows in the site's folder of the run, or compare with the one that is there.

    The order of the rows does not count.

    Raises:
        DataError: the rows are others; names the site.
    """
    now, path = f"{len(table)} {digest(table):016x}", folder / _FILE
    if not path.exists():
        path.write_text(now)
    elif path.read_text() != now:
        raise DataError(
            f"{site}: was started again, and its rows to train on are not those that the run began with; have the"
            " loader return the same rows each time"
        )


def digest(table: Table) -> int:
    """Return 64 bits that differ for other rows, but hardly by accident, and do not depend on the order of the rows."""
    row = np.zeros(len(table), np.uint64)
    columns = [table.features[:, feature] for feature in range(table.num_features)]
    parts = [part for name in ROW_COLUMNS if (part := getattr(table, name)) is not None and len(part) == len(table)]
    columns += [column for part in parts for column in np.atleast_2d(part.T)]
    for column in columns:
        row = (row ^ np.ascontiguousarray(column, np.float32).view(np.uint32)) * np.uint64(_FACTOR)
        row ^= row >> np.uint64(29)
    return int(row.sum(dtype=np.uint64))

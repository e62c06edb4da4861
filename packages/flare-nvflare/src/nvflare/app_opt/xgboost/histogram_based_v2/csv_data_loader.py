"""CSVDataLoader, which reads the rows of a site from CSV files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from flare_xgb import Table
from nvflare.app_opt.xgboost.data_loader import DataSplitMode, XGBDataLoader


class CSVDataLoader(XGBDataLoader):
    """Reads ``<folder>/<site>/train.csv`` and ``valid.csv``, which have no header.

    The first column holds the labels; in a federation of columns only at the site that has them.

    Args:
        folder: the folder.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def load_data(self) -> tuple[Table, Table]:
        """Return the rows to train on, and those to validate with."""
        has_labels = self.rank == 0 or self.data_split_mode == DataSplitMode.ROW
        train, valid = (self._read(Path(self.folder, self.client_id, f"{name}.csv"), has_labels) for name in _PARTS)
        return train, valid

    def _read(self, path: Path, has_labels: bool) -> Table:
        table = np.loadtxt(path, delimiter=",", ndmin=2)
        return Table.of(table[:, 1:], table[:, 0]) if has_labels else Table.of(table, None)


_PARTS = ("train", "valid")

"""A loader of columns, told which part of the table its site has."""

from __future__ import annotations

from typing import Any

COLUMNS = 1  # the split mode of XGBoost


class ColumnLoader:
    """Lets a loader read the columns of a site; to the loader, the site with the labels is the first.

    Args:
        loader: an object with ``initialize`` and ``load_data``.
        has_labels: True for the site with the labels.
    """

    def __init__(self, loader: Any, has_labels: bool) -> None:
        self.loader = loader
        self.has_labels = has_labels

    def initialize(self, client_id: str, rank: int) -> None:
        """Tell the loader which site it is at."""
        self.loader.initialize(client_id, 0 if self.has_labels else max(rank, 1), COLUMNS)

    def load_data(self) -> tuple[Any, Any]:
        """Return the columns of the rows to train on, and of those to validate with."""
        found: tuple[Any, Any] = self.loader.load_data()
        return found

"""XGBDataLoader, the base class of what reads the rows of a site."""

from __future__ import annotations

from enum import IntEnum

from flare_xgb import DataLoader
from nvflare._flare.context import fill_in_site


class DataSplitMode(IntEnum):
    """The part of a table that each site has: rows, or columns."""

    ROW = 0
    COL = 1


class XGBDataLoader(DataLoader):
    """Reads the rows of the site that it is at; the base class of a loader of one's own.

    Attributes:
        client_id: the name of the site.
        rank: its place among the sites.
        data_split_mode: how a ``DMatrix`` is split over processes: not at all, since each site has its own.
    """

    data_split_mode: int = DataSplitMode.ROW

    def initialize(self, client_id: str, rank: int, data_split_mode: int = DataSplitMode.ROW) -> None:
        """Tell the loader which site it is at."""
        super().initialize(client_id, rank)
        fill_in_site(self, client_id)
        self.data_split_mode = data_split_mode

"""The loaders of a site's share of the table."""

from files import FEATURES, SITES, read

from flare_xgb import DataLoader, Table


class Rows(DataLoader):
    """A site's equal share of the rows."""

    def __init__(self, folder, count):
        self.folder = folder
        self.count = count

    def load_data(self):
        share = self.count // SITES
        return Table.of(*read(self.folder, self.count, slice(self.rank * share, (self.rank + 1) * share))), None


class Columns(DataLoader):
    """A site's equal share of the columns; the first site has the labels."""

    def __init__(self, folder, count):
        self.folder = folder
        self.count = count

    def load_data(self):
        share = FEATURES // SITES
        own = range(self.rank * share, (self.rank + 1) * share)
        features, label = read(self.folder, self.count, columns=slice(own.start, own.stop))
        return Table.of(features, label if self.rank == 0 else None, names=[f"f{number}" for number in own]), None

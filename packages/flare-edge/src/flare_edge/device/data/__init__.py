"""Data on a device: arrays, CSV files, and generated examples."""

from flare_edge.device.data.examples import Examples, from_arrays
from flare_edge.device.data.generated import clusters, plane
from flare_edge.device.data.table import Table, read_csv, table_from

__all__ = ["Examples", "Table", "clusters", "from_arrays", "plane", "read_csv", "table_from"]

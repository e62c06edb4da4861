"""The files of results, and the table for the terminal."""

from flare_stats.output.results import Results
from flare_stats.output.table import sparkline, table_of

__all__ = ["Results", "sparkline", "table_of"]

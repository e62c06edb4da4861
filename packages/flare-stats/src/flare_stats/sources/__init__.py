"""Data of a site, from wherever it lies, as chunks of Arrow."""

from flare_stats.sources.opening import open_source
from flare_stats.sources.source import CHUNK, KINDS, Column, Kind, Source, SourceError, kind_of

__all__ = ["CHUNK", "KINDS", "Column", "Kind", "Source", "SourceError", "kind_of", "open_source"]

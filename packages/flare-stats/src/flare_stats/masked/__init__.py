"""Statistics of which the server sees the totals over all sites alone."""

from flare_stats.masked.collection import MaskedCollection
from flare_stats.masked.site import MaskedSite

__all__ = ["MaskedCollection", "MaskedSite"]

"""The warnings of a run: each text is shown once, and the summary names all sites that gave it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

MOST_KEPT = 100
MOST_SITES_NAMED = 5


class RunWarnings:
    """Warnings in the order in which they first came, each with the sites that gave it.

    Args:
        kept: the value of :meth:`state` before a restart.
    """

    def __init__(self, kept: Iterable[tuple[str, list[str]]] = ()) -> None:
        # The same text from a site and from the run itself counts as two warnings.
        self._sites = {(text, bool(sites)): list(sites) for text, sites in kept}

    def add(self, text: str, site: str | None = None) -> bool:
        """Add a warning, of a site or of the run itself (None); return True if its text is new."""
        key = (text, site is not None)
        is_new = key not in self._sites
        sites = self._sites.setdefault(key, [])
        if site is not None and site not in sites:
            sites.append(site)
        return is_new

    def state(self) -> list[tuple[str, list[str]]]:
        """Return the warnings in a JSON-compatible form, for a run that continues after a restart."""
        return [(text, sites) for (text, _), sites in self._sites.items()]

    def lines(self, order: Sequence[str]) -> list[str]:
        """Return the warnings for the summary: the first ones, and how many more there were.

        Args:
            order: the order in which sites are named.
        """
        place = {site: index for index, site in enumerate(order)}  # sites removed since a restart are not in it
        lines = [
            f"{_named(sorted(sites, key=lambda site: place.get(site, len(place))))}: {text}" if sites else text
            for (text, _), sites in self._sites.items()
        ]
        more = len(lines) - MOST_KEPT
        return lines if more <= 0 else [*lines[:MOST_KEPT], f"… and {more} more in the log"]


def _named(sites: list[str]) -> str:
    more = len(sites) - MOST_SITES_NAMED
    return ", ".join(sites) if more <= 0 else f"{', '.join(sites[:MOST_SITES_NAMED])} and {more} more sites"

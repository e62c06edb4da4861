"""The warnings of a run: each is shown once, and the summary names all sites that gave it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["RunWarnings"]

MOST_KEPT = 100
MOST_SITES_NAMED = 5


class RunWarnings:
    """Texts in the order in which they first came, each with the sites that gave it.

    Args:
        kept: what :meth:`state` returned before the process was started again.
    """

    def __init__(self, kept: Iterable[tuple[str, list[str]]] = ()) -> None:
        # The run itself can give a text that a site gives, too: those are two warnings.
        self._sites = {(text, bool(sites)): list(sites) for text, sites in kept}

    def add(self, text: str, site: str | None = None) -> bool:
        """Take a warning, of a site or of the run itself (None); true if it is the first with this text."""
        key = (text, site is not None)
        is_new = key not in self._sites
        sites = self._sites.setdefault(key, [])
        if site is not None and site not in sites:
            sites.append(site)
        return is_new

    def state(self) -> list[tuple[str, list[str]]]:
        """What a run that is continued needs to know of them, as JSON has it."""
        return [(text, sites) for (text, _), sites in self._sites.items()]

    def lines(self, order: Sequence[str]) -> list[str]:
        """The warnings for the summary; of very many only the first, and how many more there were.

        Args:
            order: that in which sites are named.
        """
        place = {site: index for index, site in enumerate(order)}  # without those put out since a restart
        lines = [
            f"{_named(sorted(sites, key=lambda site: place.get(site, len(place))))}: {text}" if sites else text
            for (text, _), sites in self._sites.items()
        ]
        more = len(lines) - MOST_KEPT
        return lines if more <= 0 else [*lines[:MOST_KEPT], f"… and {more} more, which the log has"]


def _named(sites: list[str]) -> str:
    more = len(sites) - MOST_SITES_NAMED
    return ", ".join(sites) if more <= 0 else f"{', '.join(sites[:MOST_SITES_NAMED])} and {more} more sites"

"""Questions to the sites of a run, of which some may leave or be late."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from flare_core import Federation, SiteError


class Sites:
    """The sites that take part.

    Args:
        fed: the federation.
        min_clients: how many must answer each question.
        chosen: names of those that may; all if None.
    """

    def __init__(self, fed: Federation, min_clients: int, chosen: Sequence[str] | None = None) -> None:
        self._fed = fed
        self._min_clients = min_clients
        self._chosen = chosen

    def present(self, among: Collection[str] | None = None) -> tuple[str, ...]:
        """Return the sites that are connected, of some or of all.

        Raises:
            SiteError: they are too few.
        """
        sample = self._fed.sample(self._min_clients)
        able = tuple(site for site in sample if self._chosen is None or site in self._chosen)
        found = able if among is None else tuple(site for site in able if site in among)
        if len(found) < self._min_clients:
            wanted = self._chosen if among is None else among
            lost = [site for site in wanted or self._fed.sites if site not in found]
            raise SiteError(
                f"{self._min_clients} sites are needed, but only {', '.join(found) or 'none'} of those that take part"
                f" are there; {', '.join(lost) or 'no other'} left",
                site=lost[0] if lost else self._fed.sites[0],
            )
        return found

    def ask(self, task: str, data: Mapping[str, Any], *, quorum: int | None = None) -> dict[str, Any]:
        """Give each site its data and return the answers of those that gave one, by site.

        Args:
            task: the task's name.
            data: by site.
            quorum: how many must answer; `min_clients` if left out.
        Raises:
            SiteError: a site failed, or too few answered.
        """
        if not data:
            return {}
        some = min(self._min_clients, len(data)) if quorum is None else quorum
        with self._fed.scatter(task, data, quorum=some) as conversation:
            replies = {reply.site: reply.data for reply in conversation}
        for site, reply in replies.items():
            if not isinstance(reply, Mapping):
                raise SiteError(
                    f"{site}: its answer to '{task}' is a {type(reply).__name__}; all sites need the same version of"
                    " flare-stats",
                    site=site,
                )
        return replies

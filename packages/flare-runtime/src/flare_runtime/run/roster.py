"""Which sites of a run are there, through which cell each is reached, and what became of the others."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from flare_core import SiteError
from flare_transport.address import speaks_for

__all__ = ["Absence", "Roster"]


@dataclass(frozen=True, slots=True)
class Absence:
    """Why a site is not there, and since when on the monotonic clock."""

    reason: str
    since: float


class Roster:
    """The sites of a run, in their fixed order.

    Args:
        hosts: by site, the name of the cell that serves it.
        can_leave: whether sites come and go by themselves, as those of other machines do. Then none is there yet, and
            what serves a site is a cell below it, a new one each time it comes.
        starting: those that are about to come; a run begins when they have, or will not.
    Attributes:
        failures: by site, what its script failed with; such a site is lost to the run.
        removed: those that are absent and will not come back.
    """

    def __init__(self, hosts: Mapping[str, str], *, can_leave: bool, starting: Iterable[str] = ()) -> None:
        self.sites = tuple(hosts)
        self.can_leave = can_leave
        self.hosts = dict(hosts)
        self.failures: dict[str, SiteError] = {}
        self.absent: dict[str, Absence] = {}
        self.starting = set(starting)
        self.removed: set[str] = set()
        self._per_host = Counter(hosts.values())
        self._known_hosts = set(hosts.values())
        if can_leave:
            self.absent = dict.fromkeys(hosts, Absence("it has not come yet", time.monotonic()))

    @property
    def present(self) -> tuple[str, ...]:
        """The sites that are there and have not failed."""
        return tuple(site for site in self.sites if site not in self.failures and site not in self.absent)

    def arrive(self, site: str, host: str) -> bool:
        """Take note that a site is there; false if it was already."""
        self.hosts[site] = host
        self._known_hosts.add(host)
        self.starting.discard(site)
        return self.absent.pop(site, None) is not None

    def leave(self, site: str, host: str | None, reason: str) -> bool:
        """Take note that a site is gone; false if it was already, or has come again through another cell.

        Args:
            host: the cell through which it was reached; None stands for any.
        """
        if site not in self.hosts or site in self.absent or (host is not None and self.hosts[site] != host):
            return False
        self.absent[site] = Absence(reason, time.monotonic())
        return True

    def will_not_come(self, host: str, reason: str) -> None:
        """Take note that a cell is gone before it could say that it serves a site."""
        for site in [each for each in self.starting if speaks_for(each, host)]:
            self.starting.discard(site)
            self.absent[site] = Absence(reason, time.monotonic())

    def remove(self, site: str, reason: str) -> bool:
        """Take note that a site is gone for good; false if it was absent already."""
        was_there = site not in self.absent
        self.starting.discard(site)
        self.removed.add(site)
        self.absent[site] = Absence(reason, time.monotonic())
        return was_there

    @property
    def possible(self) -> int:
        """How many sites are there, or may come."""
        return sum(site not in self.failures and site not in self.removed for site in self.sites)

    def speaks_for(self, sender: str, site: str) -> bool:
        """Whether a cell is the one that serves a site, or is below it."""
        host = self.hosts.get(site)
        return host is not None and speaks_for(host, sender)

    def knows(self, sender: str) -> bool:
        """Whether a cell serves, or has served, a site of this run, or is below one that does; from any thread."""
        name = sender
        while name and name not in self._known_hosts:
            name = name.rpartition(".")[0]
        return bool(name)

    def may_serve(self, sender: str, site: str) -> bool:
        """Whether a cell may say that it serves a site from now on."""
        return self.speaks_for(sender, site) if not self.can_leave else site in self.hosts and speaks_for(site, sender)

    def sites_of(self, host: str) -> list[str]:
        """The sites that a cell serves."""
        return [site for site, each in self.hosts.items() if each == host]

    def by_host(self, sites: Iterable[str]) -> dict[str, list[str]]:
        """Group sites by the cells that serve them."""
        grouped: dict[str, list[str]] = defaultdict(list)
        for site in sites:
            grouped[self.hosts[site]].append(site)
        return grouped

    def are_all_of(self, host: str, sites: list[str]) -> bool:
        """Whether these are all the sites that a cell serves."""
        return self.can_leave or len(sites) == self._per_host[host]

    def missing(self) -> str:
        """Who is not there, and why, for messages."""
        parts = [f"{site} failed" for site in self.failures]
        parts += [f"{site}: {absence.reason}" for site, absence in self.absent.items() if site not in self.failures]
        return "; ".join(parts) or "nobody is missing"

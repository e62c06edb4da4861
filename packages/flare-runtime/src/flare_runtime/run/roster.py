"""Roster: the sites of a run, the cells that serve them, and the reasons why others are absent."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from flare_core import SiteError
from flare_transport.address import speaks_for


@dataclass(frozen=True, slots=True)
class Absence:
    """The reason why a site is absent, and since when (on the monotonic clock)."""

    reason: str
    since: float


class Roster:
    """The sites of a run, in their fixed order.

    Args:
        hosts: the name of the cell that serves each site.
        can_leave: whether sites connect and disconnect by themselves, as those on other machines do. Then all are
            absent at first, and each is served by a cell below its own name, a new one whenever it connects.
        starting: sites that are about to connect; the run begins when they have, or cannot.
    Attributes:
        failures: the error of each site whose script failed; the run does without these sites.
        removed: absent sites that will not return.
    """

    def __init__(self, hosts: Mapping[str, str], *, can_leave: bool, starting: Iterable[str] = ()) -> None:
        self.sites = tuple(hosts)
        self.can_leave = can_leave
        self.hosts = dict(hosts)
        self.failures: dict[str, SiteError] = {}
        self.absent: dict[str, Absence] = {}
        self.starting = set(starting)
        self.removed: set[str] = set()
        self._known_hosts = set(hosts.values())  # only ever grows, so other threads may read it without a lock
        if can_leave:
            self.absent = dict.fromkeys(hosts, Absence("it has not connected yet", time.monotonic()))

    @property
    def present(self) -> tuple[str, ...]:
        """The connected sites that have not failed."""
        return tuple(site for site in self.sites if site not in self.failures and site not in self.absent)

    def arrive(self, site: str, host: str) -> bool:
        """Record that a site is connected; return False if it was already."""
        self.hosts[site] = host
        self._known_hosts.add(host)
        self.starting.discard(site)
        return self.absent.pop(site, None) is not None

    def leave(self, site: str, reason: str) -> bool:
        """Record that a site is absent, and why; return False if it was already."""
        if was_there := site not in self.absent:
            self.absent[site] = Absence(reason, time.monotonic())
        return was_there

    def will_not_come(self, host: str, reason: str) -> None:
        """Record that a cell was lost before it could announce the site that it serves."""
        for site in [each for each in self.starting if speaks_for(each, host)]:
            self.starting.discard(site)
            self.absent[site] = Absence(reason, time.monotonic())

    def remove(self, site: str, reason: str) -> bool:
        """Record that a site will not return; return False if it was absent already."""
        was_there = site not in self.absent
        self.starting.discard(site)
        self.removed.add(site)
        self.absent[site] = Absence(reason, time.monotonic())
        return was_there

    @property
    def possible(self) -> int:
        """The number of sites that are connected or may still connect."""
        return sum(site not in self.failures and site not in self.removed for site in self.sites)

    def speaks_for(self, sender: str, site: str) -> bool:
        """Return True if a cell serves a site, or is below the cell that does."""
        host = self.hosts.get(site)
        return host is not None and speaks_for(host, sender)

    def knows(self, sender: str) -> bool:
        """Return True if a cell serves or has served a site of this run, or is below one that does; thread-safe."""
        name = sender
        while name and name not in self._known_hosts:
            name = name.rpartition(".")[0]
        return bool(name)

    def may_serve(self, sender: str, site: str) -> bool:
        """Return True if a cell may announce that it serves a site."""
        return self.speaks_for(sender, site) if not self.can_leave else site in self.hosts and speaks_for(site, sender)

    def sites_of(self, host: str) -> list[str]:
        """Return the sites that a cell serves."""
        return [site for site, each in self.hosts.items() if each == host]

    def by_host(self, sites: Iterable[str]) -> dict[str, list[str]]:
        """Group sites by the cells that serve them."""
        grouped: dict[str, list[str]] = defaultdict(list)
        for site in sites:
            grouped[self.hosts[site]].append(site)
        return grouped

    def missing(self) -> str:
        """Name the missing sites and the reasons, for messages."""
        parts = [f"{site} failed" for site in self.failures]
        parts += [f"{site}: {absence.reason}" for site, absence in self.absent.items() if site not in self.failures]
        return "; ".join(parts) or "no site is missing"

    def too_few(self, needed: int, there: int, grace_s: float) -> SiteError:
        """Return the error for too few connected sites after a grace period."""
        return SiteError(
            f"{needed} sites are needed, {there} were connected, and no other connected within"
            f" {grace_s:g} s ({self.missing()}); start the missing sites, or allow more"
            " time with reconnect_grace_s",
            site=next(iter(self.absent), self.sites[0]),
        )

    def too_few_left(self, needed: int) -> SiteError:
        """Return the error for too few sites that may still connect, since others were removed."""
        left = self.possible
        text = f"{needed} sites are needed, and {left} {'is' if left == 1 else 'are'} left ({self.missing()})"
        return SiteError(text, site=min(self.removed))

"""Conversations: tasks sent to sites, the replies that have arrived, and the sites that have yet to answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from flare_core import Conversation, FLModel, Reply
from flare_core.model import Key, MetaKey
from flare_tensor_downloader import Offer
from flare_tensor_downloader.payload import Payload

if TYPE_CHECKING:
    from flare_runtime.run.federation import SitesFederation

Answer = FLModel | Payload
"""The data of a reply as it arrives."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The offer from which a site fetches its task's arrays, and the tensors that it may return as references."""

    offer: Offer
    arrays: dict[Key, Any]  # taken before the task is sent, since the offer drops them once they were fetched


@dataclass(eq=False, repr=False, slots=True)
class SitesConversation(Conversation):
    """One task for several sites; used on the workflow's thread only.

    Each site is in one state: awaited, then ``arrived``, then ``read``; or ``passed_over``, from which none returns.

    Attributes:
        federation: the federation, which waits for the replies.
        number: the task's id; a reply that names another task is late.
        task: the task's name.
        data: the data for each site, before any filter.
        quorum: how many of the sites must answer.
        round: the round in which it began.
        deadline_s: seconds after which the quorum suffices; None waits for all sites.
        unused_since: for each site whose last result of such a task was not used, the round of the first such result.
        is_repeat: sites were sent a task with this id before, in a round that begins again.
        may_restart: the round may begin again without a site whose transfer stalls.
        result_stays: the params of replies stay at the sites.
        outlives_round: replies are still awaited when a later round has begun.
        sites: the sites, in the order in which their replies are read.
        arrived: replies that were not read yet, by site.
        read: sites whose replies were read.
        passed_over: sites that are no longer waited for.
        is_overdue: the deadline has passed.
        sent: the offer held for each site while it may fetch the data.
        is_stopped: no more replies are expected.
        held: for each site, a function that lets it drop what it holds for a reply.
    """

    federation: SitesFederation
    number: int
    task: str
    data: Mapping[str, Any]
    quorum: int
    round: int | None
    deadline_s: float | None
    unused_since: Mapping[str, int]
    is_repeat: bool = False
    may_restart: bool = False
    result_stays: bool = False
    outlives_round: bool = False
    sites: tuple[str, ...] = ()
    started: float = field(default_factory=time.monotonic)
    arrived: dict[str, Answer] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)
    passed_over: set[str] = field(default_factory=set)
    is_overdue: bool = False
    sent: dict[str, Sent] = field(default_factory=dict)
    is_stopped: bool = False
    held: dict[str, Callable[[], None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sites = tuple(self.data)
        self.quorum = min(self.quorum, len(self.data))

    def __iter__(self) -> Iterator[Reply]:
        for site in self.sites:
            while self._is_awaited(site):
                self.federation.await_reply(self)
            if site in self.arrived:
                yield from self.federation.take(self, site)

    def as_completed(self) -> Iterator[Reply]:
        """Yield the replies in the order in which they arrive."""
        while self.arrived or self.awaited:
            if not self.arrived:
                self.federation.await_reply(self)
            else:
                yield from self.federation.take(self, next(iter(self.arrived)))

    def close(self) -> None:
        """Withdraw the task from sites that have not answered, and discard unread replies."""
        self.federation.close(self)

    @property
    def awaited(self) -> tuple[str, ...]:
        """The sites that have yet to answer."""
        return tuple(filter(self._is_awaited, self.sites))

    @property
    def answered(self) -> int:
        """The number of sites that have answered or are no longer waited for."""
        return len(self.read) + len(self.passed_over) + len(self.arrived)

    def _is_awaited(self, site: str) -> bool:
        is_settled = site in self.arrived or site in self.read or site in self.passed_over
        return not is_settled and not self.is_stopped

    def accept(self, site: str, answer: Answer) -> bool:
        """Keep a reply; return False if no reply of that site is expected."""
        if site not in self.data or not self._is_awaited(site):
            return False
        self.arrived[site] = answer
        return True

    def leave(self, site: str) -> None:
        """Handle the loss of a site: give it up if the quorum allows that, otherwise wait for its return."""
        # Its arrays are gone with it, so a reply that was not read is of no use.
        self.arrived.pop(site, None)
        can_spare = len(self.sites) - len(self.passed_over) - 1 >= self.quorum
        if site in self.data and site not in self.read and can_spare:
            self.passed_over.add(site)

    def release_held(self) -> None:
        """Let the sites drop what they hold for replies that were read."""
        for release in list(self.held.values()):
            release()

    def pass_over_late(self) -> list[str]:
        """Give up the sites that have not answered, if the quorum has; return them."""
        if len(self.read) + len(self.arrived) < self.quorum:
            return []
        late = list(self.awaited)
        self.passed_over.update(late)
        return late

    def for_site(self, site: str, data: Any) -> Any:
        """Return the data for one site, with a note in ``meta`` if its last results were not used."""
        if site in self.unused_since and isinstance(data, FLModel):
            return replace(data, meta={**data.meta, MetaKey.NOT_USED_SINCE: self.unused_since[site]})
        return data

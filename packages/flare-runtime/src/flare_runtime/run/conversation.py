"""Conversations: tasks sent to sites, the replies that have arrived, and the sites that have yet to answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

from flare_core import FLModel, Reply
from flare_core.model import Key, MetaKey
from flare_tensor_downloader import Offer
from flare_tensor_downloader.payload import Payload

__all__ = ["Answer", "SitesConversation"]

Answer = FLModel | Payload
"""The data of a reply as it arrives."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The offer from which a site fetches its task's arrays, and the tensors that it may return as references."""

    offer: Offer
    arrays: dict[Key, Any]  # taken before the task is sent, since the offer drops them once they were fetched


class Host(Protocol):
    """The federation, as its conversations use it."""

    def await_reply(self, conversation: SitesConversation) -> None:
        """Handle the next incoming item while replies are awaited; may give up late sites."""

    def take(self, conversation: SitesConversation, site: str) -> Iterator[Reply]:
        """Yield a site's reply that has arrived; resumes when the caller asks for the next one."""

    def close(self, conversation: SitesConversation) -> None:
        """End a conversation."""


class SitesConversation:
    """One task for several sites; used on the workflow's thread only.

    Each site is in one state: awaited, then ``arrived``, then ``read``; or ``passed_over``, from which none returns.

    Args:
        host: the federation.
        number: the task's id; a reply that names another task is late.
        task: the task's name.
        data: the data for each site, before any filter.
        quorum: how many of the sites must answer.
        round_: the current round.
        deadline_s: seconds after which the quorum suffices; None waits for all sites.
    Attributes:
        may_restart: the round may begin again without a site whose transfer stalls.
        result_stays: the params of replies stay at the sites.
        is_shared: all sites get the same object.
        arrived: replies that were not read yet, by site.
        read: sites whose replies were read.
        passed_over: sites that are no longer waited for.
        is_overdue: the deadline has passed.
        sent: the offer held for each site while it may fetch the data.
        is_given: the task was sent.
        is_repeat: sites were sent a task with this id before, in a round that begins again.
        outlives_round: replies are still awaited when a later round has begun.
        is_stopped: no more replies are expected.
        unused_since: for each site whose last result of such a task was not used, the round of the first such result.
        held: for each site, a function that lets it drop what it holds for a reply.
    """

    def __init__(
        self,
        host: Host,
        number: int,
        task: str,
        data: Mapping[str, Any],
        *,
        quorum: int,
        round_: int | None,
        deadline_s: float | None = None,
    ) -> None:
        self._host = host
        self.number = number
        self.task = task
        self.data = data
        self.sites = tuple(data)
        self.is_shared = len({id(each) for each in data.values()}) <= 1
        self.quorum = min(quorum, len(data))
        self.round = round_
        self.deadline_s = deadline_s
        self.may_restart = False
        self.result_stays = False
        self.started = time.monotonic()
        self.arrived: dict[str, Answer] = {}
        self.read: set[str] = set()
        self.passed_over: set[str] = set()
        self.is_overdue = False
        self.sent: dict[str, Sent] = {}
        self.is_given = False
        self.is_repeat = False
        self.outlives_round = False
        self.is_stopped = False
        self.unused_since: dict[str, int] = {}
        self.held: dict[str, Callable[[], None]] = {}

    def __iter__(self) -> Iterator[Reply]:
        for site in self.sites:
            while self._is_open(site) and site not in self.arrived:
                self._host.await_reply(self)
            if site in self.arrived:
                yield from self._host.take(self, site)

    def as_completed(self) -> Iterator[Reply]:
        """Yield the replies in the order in which they arrive."""
        while self.arrived or self.awaited:
            if not self.arrived:
                self._host.await_reply(self)
            else:
                yield from self._host.take(self, next(iter(self.arrived)))

    def close(self) -> None:
        """Withdraw the task from sites that have not answered, and discard unread replies."""
        self._host.close(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def awaited(self) -> tuple[str, ...]:
        """The sites that have yet to answer."""
        return tuple(site for site in self.sites if self._is_open(site) and site not in self.arrived)

    @property
    def answered(self) -> int:
        """The number of sites that have answered or are no longer waited for."""
        return len(self.read) + len(self.passed_over) + len(self.arrived)

    def _is_open(self, site: str) -> bool:
        return not self.is_stopped and site not in self.read and site not in self.passed_over

    def accept(self, site: str, answer: Answer) -> bool:
        """Keep a reply; return False if no reply of that site is expected."""
        if site not in self.data or not self._is_open(site) or site in self.arrived:
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

"""Conversations: tasks that sites were given, who has answered, and who is still waited for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

from flare_core import FLModel, Reply
from flare_core.model import Key, MetaKey
from flare_tensor_downloader import Offer, Payload

__all__ = ["Answer", "OpenConversations", "SitesConversation"]

Answer = FLModel | Payload
"""The data of a reply as they arrive."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The offer from which a site fetches its task's arrays, and the tensors that it may send back as references."""

    offer: Offer
    arrays: dict[Key, Any]  # noted before anything is sent, since the offer drops them once they were fetched


class Host(Protocol):
    """The federation, as its conversations use it."""

    def await_reply(self, conversation: SitesConversation) -> None:
        """Handle the next item while replies are awaited; may pass over late sites."""

    def take(self, conversation: SitesConversation, site: str) -> Iterator[Reply]:
        """Yield the reply of a site that has arrived; resumed when the next is taken."""

    def close(self, conversation: SitesConversation) -> None:
        """End a conversation."""


class SitesConversation:
    """One task for several sites.

    Args:
        host: the federation.
        number: the task's id; a reply to another one is late.
        task: the task's name.
        data: by site, the data that it is given, before any filter.
        quorum: how many of the sites must answer.
        round_: the current round.
        deadline_s: seconds after which late sites may be passed over; None waits for all.
    Attributes:
        may_restart: whether the round may begin again without a site whose result stops arriving.
        result_stays: whether the params of replies stay at the sites.
        is_shared: whether all sites are given the same object.
        arrived: replies that nobody has looked at yet.
        read: sites whose replies were looked at.
        passed_over: sites that are no longer waited for.
        is_overdue: whether the deadline is over.
        sent: by site, what is held for it while it may fetch the data.
        is_given: whether it was sent to anybody.
        is_repeat: whether sites were given a task of this id before, in a round that begins again.
        outlives_round: whether replies are still awaited when a later round has begun.
        is_closed: whether nothing is expected or held any more.
        unused_since: by site, the round of its first result of such a task that was not used, if its last one was not.
        held: by site, what lets it drop what it holds for a reply that was taken.
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
        self.is_closed = False
        self.unused_since: dict[str, int] = {}
        self.held: dict[str, Callable[[], None]] = {}

    def __iter__(self) -> Iterator[Reply]:
        for site in self.sites:
            while self._is_open(site) and site not in self.arrived:
                self._host.await_reply(self)
            if site in self.arrived:
                yield from self._host.take(self, site)

    def as_completed(self) -> Iterator[Reply]:
        """Yield the replies in the order in which they come."""
        while self.arrived or self.awaited:
            if not self.arrived:
                self._host.await_reply(self)
            else:
                yield from self._host.take(self, next(iter(self.arrived)))

    def close(self) -> None:
        """Withdraw the task from sites that have not answered, and give up what was not read of the replies."""
        self._host.close(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def awaited(self) -> tuple[str, ...]:
        """The sites that must still answer."""
        return tuple(site for site in self.sites if self._is_open(site) and site not in self.arrived)

    @property
    def answered(self) -> int:
        """How many sites have answered, or are no longer waited for."""
        return len(self.read) + len(self.passed_over) + len(self.arrived)

    def _is_open(self, site: str) -> bool:
        return not self.is_stopped and site not in self.read and site not in self.passed_over

    def accept(self, site: str, answer: Answer) -> bool:
        """Keep a reply; false if none of that site is expected."""
        if site not in self.data or not self._is_open(site) or site in self.arrived:
            return False
        self.arrived[site] = answer
        return True

    def leave(self, site: str) -> None:
        """Drop a site that has left: pass over it if the quorum allows that, else it is waited for."""
        self.arrived.pop(site, None)
        can_spare = len(self.sites) - len(self.passed_over) - 1 >= self.quorum
        if site in self.data and site not in self.read and can_spare:
            self.passed_over.add(site)

    def release_held(self) -> None:
        """Let the sites drop what they hold for the replies that were taken."""
        for release in list(self.held.values()):
            release()

    def pass_over_late(self) -> list[str]:
        """Give up the sites that have not answered, if enough others have; return them."""
        if len(self.read) + len(self.arrived) < self.quorum:
            return []
        late = list(self.awaited)
        self.passed_over.update(late)
        return late

    def for_site(self, site: str, data: Any) -> Any:
        """The data for one site, which is told if its last results were not used."""
        if site in self.unused_since and isinstance(data, FLModel):
            return replace(data, meta={**data.meta, MetaKey.NOT_USED_SINCE: self.unused_since[site]})
        return data


class OpenConversations:
    """The conversations of a run that are open, the oldest first."""

    def __init__(self) -> None:
        self._open: dict[int, SitesConversation] = {}

    def __iter__(self) -> Iterator[SitesConversation]:
        return iter(list(self._open.values()))

    def add(self, conversation: SitesConversation) -> None:
        """Begin to await replies."""
        self._open[conversation.number] = conversation

    def drop(self, conversation: SitesConversation) -> None:
        """Await no more replies."""
        if self._open.get(conversation.number) is conversation:  # and not its successor in a round that began again
            del self._open[conversation.number]

    def find(self, number: int) -> SitesConversation | None:
        """The conversation whose task has that id, if it is open."""
        return self._open.get(number)

    def where(self, wanted: Callable[[SitesConversation], bool]) -> list[SitesConversation]:
        """The open conversations that fulfil a condition, the oldest first."""
        return [each for each in self._open.values() if wanted(each)]

    def leave(self, site: str) -> None:
        """Drop a site that has left from all of them."""
        for each in self._open.values():
            each.leave(site)

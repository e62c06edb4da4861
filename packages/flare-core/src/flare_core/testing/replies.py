"""Conversations and replies of the fake federation, which can be read exactly as long as those of a real run."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from flare_core.errors import FlareError, SiteError
from flare_core.model import FLModel
from flare_core.task import Reply, Task
from flare_core.workflow import Conversation

Answer = Reply | SiteError
"""The reply of a site, or why the site failed, which is raised when the reply is taken."""


class _Lease:
    """The right to read something, until it is released."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._is_over = False

    def release(self) -> None:
        self._is_over = True

    def check(self) -> None:
        if self._is_over:
            raise FlareError(self._text)


class Kept(Mapping[str, Any]):
    """Params at a site, until they are released; each access makes a copy.

    Args:
        values: the params.
        lease: ends when they are released.
        stays_at: the site that keeps them for other sites, if the server must not read them.
    """

    def __init__(self, values: Mapping[str, Any], lease: _Lease, stays_at: str | None = None) -> None:
        self._values = values
        self._lease = lease
        self._stays_at = stays_at
        self.release = lease.release

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, name: object) -> bool:
        return name in self._values  # that of Mapping would read the value

    def __getitem__(self, name: str) -> Any:
        value = self._values[name]
        if isinstance(value, Mapping):
            return Kept(value, self._lease, self._stays_at)
        if self._stays_at is not None:
            raise FlareError(f"the params stay at {self._stays_at}; the server can only give them to other sites")
        self._lease.check()
        return copy.deepcopy(value)

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Any]:
        """Return the params themselves: copies are made for sites."""
        self._lease.check()
        return copy.deepcopy(dict(self._values), memo)


def reply_to(task: Task, site: str, answer: Any) -> Reply:
    """Return a site's answer as the reply that the workflow reads.

    Args:
        task: the task as the workflow gave it.
        site: the site that answered.
        answer: what its executor returned; a copy of its own.
    """
    what = f"the params of {site}" if isinstance(answer, FLModel) else f"the data of {site} for '{task.name}'"
    lease = _Lease(
        f"{what} were released before they were read: those of a broadcast can be read until the next broadcast or the"
        " end of the round, others while their conversation is open"
    )

    def read() -> Any:
        lease.check()
        return answer

    if not isinstance(answer, FLModel):
        return Reply(site, task.name, None, task.round, task.data, read=read, release=lease.release)
    if answer.params is not None:
        answer = replace(answer, params=Kept(answer.params, lease, site if task.result_stays else None))
    release = None if task.result_stays else lease.release
    return Reply(site, task.name, answer, task.round, task.data, release=release)


class FakeConversation(Conversation):
    """A task that sites have answered at once; implements :class:`~flare_core.Conversation`.

    Made by :class:`FakeFederation`.
    """

    def __init__(
        self,
        task: str,
        answers: Mapping[str, Answer | None],
        *,
        quorum: int,
        late: Iterable[str],
        warn: Callable[[str], None],
    ) -> None:
        self.task = task
        self.sites = tuple(answers)
        self._answers = {site: answer for site, answer in answers.items() if answer is not None}
        self._quorum = min(quorum, len(answers))
        self._late = [site for site in self._answers if site in set(late)]
        self._warn = warn
        self._taken: list[Reply] = []

    def __iter__(self) -> Iterator[Reply]:
        self._pass_over_late()
        yield from self._take(self.sites)

    def as_completed(self) -> Iterator[Reply]:
        """Yield the replies in the reverse order of the sites: a workflow must not rely on any order here."""
        self._pass_over_late()
        yield from self._take(reversed(self.sites))

    @property
    def awaited(self) -> tuple[str, ...]:
        """The late sites, until the first reply is read."""
        return tuple(self._late)

    def close(self) -> None:
        """Release all replies."""
        self._answers.clear()
        for reply in self._taken:
            reply.release()

    def _take(self, sites: Iterable[str]) -> Iterator[Reply]:
        for site in sites:
            answer = self._answers.pop(site, None)
            if isinstance(answer, SiteError):
                raise answer
            if answer is not None:
                self._taken.append(answer)
                yield answer

    def _pass_over_late(self) -> None:
        """Use as many late replies as the quorum needs, and drop the others.

        Raises:
            SiteError: so many sites have left that the quorum cannot be reached.
        """
        there = len(self._answers) + len(self._taken)
        if there < self._quorum:
            left = [site for site in self.sites if site not in self._answers]
            raise SiteError(
                f"{self._quorum} sites are needed, {there} were there ({', '.join(left)} left)", site=left[0]
            )
        needed = max(0, self._quorum - (there - len(self._late)))
        late, self._late = self._late[needed:], []
        for site in late:
            del self._answers[site]
            self._warn(f"'{self.task}': {site} has not answered in time; the run goes on without")

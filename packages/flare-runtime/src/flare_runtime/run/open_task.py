"""A task that sites were given: who has answered, who must still, and who is not waited for any more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from flare_core import FLModel
from flare_core.model import Key, MetaKey
from flare_tensor_downloader import Offer

__all__ = ["OpenTask", "OpenTasks", "Sent"]


@dataclass(frozen=True, slots=True)
class Sent:
    """What a site fetches a task's model from, and the tensors that it may say it sends back as they were."""

    offer: Offer
    arrays: dict[Key, Any]  # noted before anything is sent: the offer lets go of them once they were fetched


class OpenTask:
    """The state of one broadcast.

    Args:
        number: the task's id; a reply to another one is late.
        name: of the task.
        model: what they were given.
        targets: the sites that were given it.
        quorum: how many of them must answer.
    Attributes:
        arrived: replies that nobody has looked at yet.
        read: sites whose replies were looked at.
        passed_over: sites that are not waited for any more.
        is_overdue: whether the round's deadline is over.
        sent: by site, what is held for it while it may fetch the model.
        is_given: whether it was sent to anybody.
        is_again: whether sites were given a task of this id before, in a round that begins again.
        result_stays: whether the params of replies stay at the sites, and are only told about.
        outlives_round: whether replies are still awaited when a later round has begun.
        is_closed: whether nothing is expected or held any more.
        unused_since: by site, the round of its first result of such a task that was not used, if its last one was not.
    """

    def __init__(self, number: int, name: str, model: FLModel, targets: Sequence[str], quorum: int) -> None:
        self.number = number
        self.name = name
        self.model = model
        self.targets = targets
        self.quorum = min(quorum, len(targets))
        self.arrived: dict[str, FLModel] = {}
        self.read: set[str] = set()
        self.passed_over: set[str] = set()
        self.is_overdue = False
        self.sent: dict[str, Sent] = {}
        self.is_given = False
        self.is_again = False
        self.outlives_round = False
        self.result_stays = False
        self.is_closed = False
        self.unused_since: dict[str, int] = {}

    def message(self, sites: Sequence[str] | None, model: FLModel) -> list[Any]:
        """What a cell is sent that serves sites; None stands for all that it serves."""
        return [self.number, sites, self.name, model, self.result_stays]

    def message_to(self, site: str, model: FLModel) -> list[Any]:
        """What is sent for one site, which is told if its last results were not used."""
        if site in self.unused_since:
            model = replace(model, meta={**model.meta, MetaKey.NOT_USED_SINCE: self.unused_since[site]})
        return self.message([site], model)

    @property
    def awaited(self) -> list[str]:
        """Sites that must still answer."""
        settled = self.read | self.passed_over
        return [site for site in self.targets if site not in settled and site not in self.arrived]

    @property
    def missing(self) -> int:
        """How many sites must still answer."""
        return len(self.targets) - len(self.read) - len(self.passed_over) - len(self.arrived)

    def take(self, site: str, model: FLModel) -> bool:
        """Keep a reply; false if none of that site is expected."""
        if site in self.read or site in self.passed_over or site in self.arrived or site not in self.targets:
            return False
        self.arrived[site] = model
        return True

    def left(self, site: str) -> FLModel | None:
        """Take note that a site is gone: pass over it if the quorum allows that. Return its reply, if one was there."""
        reply = self.arrived.pop(site, None)
        if site in self.targets and site not in self.read and self._can_spare(1):
            self.passed_over.add(site)
        return reply

    def pass_over_late(self) -> list[str]:
        """Give up those who have not answered, if enough others have; return them."""
        late = self.awaited
        if len(self.read) + len(self.arrived) < self.quorum:
            return []
        self.passed_over.update(late)
        return late

    def _can_spare(self, count: int) -> bool:
        return len(self.targets) - len(self.passed_over) - count >= self.quorum


class OpenTasks:
    """The tasks whose replies are awaited, the oldest first: one; or one for each model that sites work on, in a run
    that goes on without the slowest of them."""

    def __init__(self) -> None:
        self._tasks: dict[int, OpenTask] = {}

    def __iter__(self) -> Iterator[OpenTask]:
        return iter(list(self._tasks.values()))

    def add(self, task: OpenTask) -> None:
        """Await replies to a task."""
        self._tasks[task.number] = task

    def drop(self, task: OpenTask) -> None:
        """Await no more replies to a task."""
        if self._tasks.get(task.number) is task:  # and not one of the same round that has begun again
            del self._tasks[task.number]

    def find(self, number: int) -> OpenTask | None:
        """The task of that number, if it is open."""
        return self._tasks.get(number)

    @property
    def arrived(self) -> dict[str, OpenTask]:
        """By site, the tasks whose replies have come, and nobody has looked at yet."""
        return {site: task for task in self._tasks.values() for site in task.arrived}

    @property
    def awaited(self) -> list[str]:
        """Sites that work on a task."""
        return [site for task in self._tasks.values() for site in task.awaited]

    @property
    def under_way(self) -> dict[str, OpenTask]:
        """By site, the tasks that are worked on, or whose replies nobody has looked at yet."""
        return {site: task for task in self._tasks.values() for site in (*task.awaited, *task.arrived)}

    def left(self, site: str) -> None:
        """Take note that a site is gone."""
        for task in self._tasks.values():
            task.left(site)

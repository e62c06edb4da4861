"""Workflows: the server's side of an algorithm, written as its paper reads.

for round_ in fed.rounds(self.num_rounds):
    mean = WeightedMean()
    for reply in fed.broadcast("train", model, to=fed.sample(self.min_clients)):
        mean.add(reply)
    model = mean.update(model)
    fed.save(model)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from flare_core.errors import JobError
from flare_core.events import EventBus
from flare_core.model import FLModel
from flare_core.task import Reply

__all__ = ["Federation", "Sample", "Workflow"]


class Sample(tuple[str, ...]):
    """The sites of a round.

    Attributes:
        quorum: how many of them must answer; the round goes on without those that leave or are late, as long as so many
            are left.
    """

    quorum: int

    def __new__(cls, sites: Iterable[str], quorum: int) -> Sample:
        made = super().__new__(cls, sites)
        made.quorum = quorum
        return made

    @classmethod
    def in_turn(cls, order: Sequence[str], index: int, *, done: int, minimum: int) -> Sample:
        """One site of several that work in turn; it may be lost if enough others have worked, or will have.

        Args:
            order: the sites of the round.
            index: whose turn it is.
            done: how many before it have done their work.
            minimum: how many must; if there are fewer in ``order``, none must.
        """
        others = done + len(order) - index - 1
        return cls((order[index],), 0 if others >= minimum or len(order) < minimum else 1)


class Federation(Protocol):
    """What a workflow sees of the sites and of its run."""

    sites: tuple[str, ...]
    """All sites of the run, in a fixed order."""

    job_id: str
    random: np.random.Generator
    """The run's own source of randomness, from the job's seed."""

    events: EventBus

    round: int | None
    """The current round, counted from 0; None before the first."""

    config: Mapping[str, Any]
    """The server's settings of the job (``recipe.add_server_config``)."""

    def rounds(self, count: int) -> Iterator[int]:
        """Yield 0, 1, … and announce each round's start and end; leave the loop to stop early.

        A run that is continued begins with the first round that was not completed.
        """

    def sample(self, minimum: int, *, count: int | None = None) -> Sample:
        """Choose the sites of a round: all that are there, or ``count`` of them drawn at random.

        Waits for sites that may come back while there are fewer than ``minimum``, which is also the round's quorum.

        Raises:
            SiteError: too few came in time; names those that are missing.
        """

    def broadcast(
        self, task: str, model: FLModel, *, to: Sequence[str] | None = None, result_stays: bool = False
    ) -> Iterator[Reply]:
        """Give a task to several sites and yield their replies in the order of ``to``.

        Every site works at the same time; the fixed order makes the sums, and so the models, reproducible. A reply's
        params are read from the site when touched, and only until the next reply is taken.

        All of ``to`` must answer, or the quorum of a :class:`Sample`: then sites that leave in the meantime, or have
        not answered when the round's deadline is over, are passed over. A result that comes too late is never used; one
        that stops coming for as long as the deadline has the round begin again without its site.

        Args:
            task: the task's name.
            model: what the sites are given; its round is set here.
            to: which sites; all if left out.
            result_stays: have the params of the replies stay at the sites. Those of the replies then only say where
                they are: the server cannot read them, but give them to other sites, as a task's params or in a task's
                ``meta``. The sites keep them until :meth:`release`. A site that could not fetch the given model, which
                may be at sites that are lost, replies with the reason in ``meta["lost"]`` and nothing else.
        Raises:
            SiteError: a site's script failed; names it and carries its traceback. Or sites did not come back in time.
        """

    def collect(self, task: str, model: FLModel, *, to: Sample, quorum: int, max_staleness: int) -> Iterator[Reply]:
        """Give a task to those sites that work on none, and yield the first ``quorum`` replies, whatever their round.

        The other sites go on, and their replies come in a later round. With a quorum of all, this is as
        :meth:`broadcast`, the order included. ``reply.round`` and ``reply.sent`` tell what a reply was made from.

        Args:
            task: the task's name.
            model: what the sites are given; its round is set here.
            to: the sites that may be given the task. After the round's deadline, its quorum is enough.
            quorum: how many replies are awaited; all that are under way, if those are fewer.
            max_staleness: what was given to sites more rounds ago is withdrawn, and its results are dropped.
        Raises:
            SiteError: as :meth:`broadcast`.
        """

    def release(self, model: FLModel) -> None:
        """Let a site drop the params of a reply that stayed there."""

    def load(self, name: str = "global") -> FLModel:
        """Return the model to start from: the one saved last, by whichever workflow of the job, else the initial one.

        In a run that is continued it is that of the last completed round. The ``best`` model can be loaded, too,
        and the ``initial`` one. A model that is not there has no params.
        """

    def in_framework(self, model: FLModel) -> Mapping[str, Any]:
        """A model's params in the form of the recipe's framework."""

    def save(
        self, model: FLModel, *, name: str = "global", metric: float | None = None, of_round: int | None = None
    ) -> None:
        """Keep a checkpoint named ``global`` or ``best``; ``model`` must not change afterwards.

        Args:
            name: which of the two.
            metric: what chose it.
            of_round: the round in which sites were given it, if that is not the current one.
        """

    def record(self, metrics: dict[str, float], *, site: str | None = None) -> None:
        """Write metrics of the current round into the run's record; without a site they are the federation's."""

    def write(self, name: str, text: str) -> None:
        """Keep a file of results beside the checkpoints, in place of one that has its name."""

    def show(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Show a table to the people who watch the run: a ``title``, the heads of the ``columns``, the ``rows``."""

    def warn(self, message: str) -> None:
        """Show a warning to the people who watch the run, and log it."""


class Workflow(ABC):
    """The server's side of an algorithm."""

    @abstractmethod
    def run(self, fed: Federation) -> None:
        """Run the algorithm to its end; an exception fails the run.

        What starts after a crash is a new object: :meth:`restore` is called with the state of the last completed round,
        then this. So take the model from ``fed.load()`` and the rounds from ``fed.rounds()``.
        """

    def state(self) -> Mapping[str, Any]:
        """What must survive from round to round besides the model; nothing if left out.

        By name, values that JSON has, or mappings of name to numpy array, which must not change afterwards.
        """
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`state` returned after the last completed round.

        Raises:
            JobError: there is something to take over, and the workflow does not say how.
        """
        if state:
            raise JobError(f"{type(self).__name__} has a state(), so it needs a restore(state) as well")

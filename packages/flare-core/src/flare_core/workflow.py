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
from typing import Any, Protocol, Self

import numpy as np

from flare_core.endpoint import JobEndpoint
from flare_core.errors import JobError
from flare_core.events import EventBus
from flare_core.model import FLModel
from flare_core.task import Reply, Sample


class Conversation(Protocol):
    """A task that several sites were given, and their replies.

    It stays open, beside others, until it is closed: by :meth:`close`, at the end of a ``with`` block, or at the end of
    the workflow. Closing it withdraws the task from the sites that have not answered, and discards the parts of replies
    that were not read.
    """

    task: str
    """The task's name."""

    sites: tuple[str, ...]
    """The sites that were given the task."""

    def __iter__(self) -> Iterator[Reply]:
        """Yield the replies in the order of ``sites``, each as soon as it and those before it have come.

        The fixed order makes sums, and so models, reproducible. A reply that was taken is not yielded again.
        """

    def as_completed(self) -> Iterator[Reply]:
        """Yield the replies in the order in which they come."""

    @property
    def awaited(self) -> tuple[str, ...]:
        """The sites that have not answered yet and are still waited for."""

    def close(self) -> None:
        """End the conversation; closing it again does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Federation(Protocol):
    """The sites and the run, as a workflow sees them."""

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

    @property
    def endpoint(self) -> JobEndpoint:
        """The server's access to the endpoints of the sites, for requests, messages and byte streams."""

    def rounds(self, count: int) -> Iterator[int]:
        """Yield 0, 1, … and announce each round's start and end; leave the loop to stop early.

        A run that is continued begins with the first round that was not completed.
        """

    def sample(self, minimum: int, *, count: int | None = None) -> Sample:
        """Choose the sites of a round: all that are connected, or ``count`` of them drawn at random.

        Waits for sites that may come back while fewer than ``minimum`` are connected, which is also the round's quorum.

        Raises:
            SiteError: too few came in time; names those that are missing.
        """

    def ask(
        self,
        task: str,
        data: Any = None,
        *,
        to: Sequence[str] | None = None,
        quorum: int | None = None,
        deadline_s: float | None = None,
        result_stays: bool = False,
    ) -> Conversation:
        """Give a task with the same data to several sites, which all work at the same time; do not wait.

        Args:
            task: the task's name.
            data: anything that :mod:`flare_fobs` serializes; large arrays anywhere in it are fetched by the sites. It
                must not change while the conversation is open. A model is sent with the current round.
            to: the sites; all if left out.
            quorum: how many of them must answer. Sites that leave, or have not answered when the deadline is over, are
                passed over as long as so many are left. If left out, that of a :class:`Sample`, else all must answer.
            deadline_s: seconds after which late sites may be passed over; the job's ``round_deadline_s`` if left out.
            result_stays: keep the params of the replies at the sites. Those of the replies then only say where they
                are: the server cannot read them, but give them to other sites, as a task's params or in a task's
                ``meta``. The sites keep them until :meth:`TrainingFederation.release`. A site that could not fetch the
                given model, which may be at sites that are lost, replies with the reason in ``meta["lost"]`` and
                nothing else.
        Raises:
            RecipeError: a site is not one of the run.
        """

    def scatter(
        self, task: str, data: Mapping[str, Any], *, quorum: int | None = None, deadline_s: float | None = None
    ) -> Conversation:
        """Give a task to several sites, with different data for each; otherwise as :meth:`ask`.

        Args:
            task: the task's name.
            data: by site.
            quorum, deadline_s: as for :meth:`ask`.
        """

    def broadcast(self, task: str, data: Any = None, *, to: Sequence[str] | None = None) -> Iterator[Reply]:
        """Give a task to several sites and yield their replies in the order of ``to``; arguments as for :meth:`ask`.

        The replies can be read until the next broadcast, or the end of the round. A late result is never used. A site
        whose result stops arriving for as long as the round's deadline is left out, and the round begins again.

        Args:
            task, data, to: as for :meth:`ask`.
        Raises:
            SiteError: a site's script failed; names it and carries its traceback. Or sites did not come back in time.
        """

    def checkpoint(self) -> None:
        """Keep the workflow's :meth:`~Workflow.state` in the middle of a round, for rounds that take long.

        A run that is continued begins the round again, with that state, from which the workflow must see how far it
        was. What it had recorded is kept; a model that was saved in the round is part of it. Call it when no
        conversation is open whose replies are still needed. Nothing is written where runs are not continued, and
        otherwise so seldom that it takes at most a tenth of the time.
        """

    def record(self, metrics: dict[str, float], *, site: str | None = None) -> None:
        """Write metrics of the current round into the run's record; without a site they are the federation's."""

    def write(self, name: str, text: str) -> None:
        """Write a file of results next to the checkpoints, replacing one of the same name; it may name a folder."""

    def show(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Show a table to the users who watch the run: ``title``, headers of the ``columns``, and ``rows``."""

    def warn(self, message: str) -> None:
        """Show a warning to the users who watch the run, and log it."""


class TrainingFederation(Federation, Protocol):
    """A federation whose sites train a model: checkpoints, forms of models, late replies."""

    def collect(self, task: str, model: FLModel, *, to: Sample, quorum: int, max_staleness: int) -> Iterator[Reply]:
        """Give a task to the sites that work on none, and yield the first ``quorum`` replies, whatever their round.

        The other sites continue, and their replies come in a later round. With a quorum of all, this equals
        :meth:`broadcast`, including the order. ``reply.round`` and ``reply.sent`` identify the model of a reply.

        Args:
            task: the task's name.
            model: the model for the sites; its round is set here.
            to: the sites that may be given the task. After the round's deadline, its quorum is enough.
            quorum: how many replies are awaited; all that are under way, if those are fewer.
            max_staleness: a task that was given more rounds ago is withdrawn, and its results are dropped.
        Raises:
            SiteError: as :meth:`broadcast`.
        """

    def release(self, model: FLModel) -> None:
        """Let a site drop the params of a reply that stayed there."""

    def load(self, name: str = "global") -> FLModel:
        """Return the model to start from: the one saved last, by whichever workflow of the job, else the initial one.

        In a run that is continued it is that of the last completed round. The ``best`` model can be loaded, too,
        and the ``initial`` one. A model that does not exist has no params.
        """

    def in_framework(self, model: FLModel) -> Mapping[str, Any]:
        """Return a model's params in the form of the recipe's framework."""

    def save(
        self, model: FLModel, *, name: str = "global", metric: float | None = None, of_round: int | None = None
    ) -> None:
        """Save a checkpoint named ``global`` or ``best``; ``model`` must not change afterwards.

        Args:
            model: the model.
            name: which of the two.
            metric: the value of the metric that chose it.
            of_round: the round in which sites were given it, if that is not the current one.
        """


class Workflow(ABC):
    """The server's side of an algorithm."""

    @abstractmethod
    def run(self, fed: TrainingFederation) -> None:
        """Run the algorithm to its end; an exception fails the run.

        A workflow that trains no model can take its argument as a :class:`Federation`. After a crash, a new object is
        made: :meth:`restore` is called with the state that was kept last, then this. So take the model from
        ``fed.load()`` and the rounds from ``fed.rounds()``.
        """

    def state(self) -> Mapping[str, Any]:
        """Return what must survive from round to round besides the model; nothing if left out.

        By name, values that JSON has, or mappings of name to numpy array, which must not change afterwards.
        """
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore the :meth:`state` after the last completed round, or of the last checkpoint in the round after it.

        Raises:
            JobError: the workflow overrides only ``state``.
        """
        if state:
            raise JobError(f"{type(self).__name__} has a state(), so it needs a restore(state) as well")

    def begins_again(self, state: Mapping[str, Any]) -> str:
        """Return why a run cannot be continued with this :meth:`state`; empty, as here, if it can.

        The run then begins this workflow again: it forgets the rounds that were recorded, and shows the reason.
        """
        return ""

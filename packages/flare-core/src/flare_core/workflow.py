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
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from flare_core.events import EventBus
from flare_core.model import FLModel
from flare_core.task import Reply

__all__ = ["Federation", "Workflow"]


class Federation(Protocol):
    """What a workflow sees of the sites and of its run."""

    sites: tuple[str, ...]
    """All sites of the run, in a fixed order."""

    job_id: str
    random: np.random.Generator
    """The run's own source of randomness, from the job's seed."""

    events: EventBus

    def rounds(self, count: int) -> Iterator[int]:
        """Yield 0, 1, … and announce each round's start and end; leave the loop to stop early."""

    def sample(self, minimum: int, *, count: int | None = None) -> tuple[str, ...]:
        """Choose the sites of a round: all that are there, or ``count`` of them drawn at random.

        Raises:
            SiteError: fewer than ``minimum`` sites are there; names those that are missing.
        """

    def broadcast(self, task: str, model: FLModel, *, to: Sequence[str] | None = None) -> Iterator[Reply]:
        """Give a task to several sites and yield their replies in the order of ``to``.

        Every site works at the same time; the fixed order makes the sums, and so the models, reproducible. A reply's
        params are read from the site when touched, and only until the next reply is taken.

        Raises:
            SiteError: a site failed before it answered; names it and carries its traceback.
        """

    def load(self) -> FLModel:
        """Return the job's initial model; one without params if the job has none."""

    def save(self, model: FLModel, *, name: str = "global", metric: float | None = None) -> None:
        """Keep a checkpoint named ``global`` or ``best``; ``model`` must not change afterwards."""

    def record(self, metrics: dict[str, float], *, site: str | None = None) -> None:
        """Write metrics of the current round into the run's record; without a site they are the federation's."""

    def warn(self, message: str) -> None:
        """Show a warning to the people who watch the run, and log it."""


class Workflow(ABC):
    """The server's side of an algorithm."""

    @abstractmethod
    def run(self, fed: Federation) -> None:
        """Run the algorithm to its end; an exception fails the run."""

"""The work of a device on a model: to train it, or to evaluate it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from flare_edge.device.data import Examples
from flare_edge.device.filters import Filter, filters_from
from flare_edge.device.programs import Params, program_from, training_from


class Task(Protocol):
    """An order, as a device sees it; see :class:`flare_edge.device.client.Task`."""

    @property
    def ticket(self) -> int:
        """The order's number."""

    @property
    def kind(self) -> str:
        """``train`` or ``evaluate``."""

    @property
    def version(self) -> int:
        """The version of the model."""

    @property
    def config(self) -> Mapping[str, Any]:
        """The run's configuration of devices."""


@dataclass(frozen=True)
class Answer:
    """The result of a device's work.

    Args:
        num_examples: the number of examples on which it trained or evaluated.
        metrics: of the model that it received, by name.
        update: the trained minus the received parameters, float32; None of an evaluation.
    """

    num_examples: int
    metrics: Mapping[str, float]
    update: Params | None = None


class Work(Protocol):
    """Trains and evaluates models with the data of a device; :class:`ProgramWork`, or a class of your own."""

    def train(self, params: Params, task: Task) -> Answer:
        """Return an answer with an update."""

    def evaluate(self, params: Params, task: Task) -> Answer:
        """Return an answer without an update."""


@dataclass(frozen=True)
class ProgramWork:
    """Runs the program that a task's configuration names; see :mod:`flare_edge.device.programs`.

    Args:
        examples: the device's data.
    """

    examples: Examples

    def train(self, params: Params, task: Task) -> Answer:
        """Train, and return the update with the received model's metrics.

        Raises:
            EdgeError: the configuration, the model or the examples do not fit each other.
        """
        program = program_from(task.config)
        metrics = program.evaluate(params, self.examples)
        trained = program.train(params, self.examples, training_from(task.config), task.version)
        return Answer(len(self.examples), metrics, difference(trained, params))

    def evaluate(self, params: Params, task: Task) -> Answer:
        """Return the model's metrics on the device's examples.

        Raises:
            EdgeError: the configuration, the model or the examples do not fit each other.
        """
        return Answer(len(self.examples), program_from(task.config).evaluate(params, self.examples))


def difference(trained: Params, received: Params) -> dict[str, np.ndarray]:
    """Return the trained minus the received parameters, in their dtype."""
    return {name: trained[name] - received[name] for name in received}


def filtered(answer: Answer, task: Task, own: Sequence[Filter]) -> Answer:
    """Apply the filters of a device's owner to an update, and then those of the run's configuration."""
    if answer.update is None:
        return answer
    update = answer.update
    for each in (*own, *filters_from(task.config)):
        update = each(update)
    return Answer(answer.num_examples, answer.metrics, update)

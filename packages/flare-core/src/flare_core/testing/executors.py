"""Tests that every executor must pass."""

from __future__ import annotations

import copy
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from flare_core.executor import Executor
from flare_core.task import Task
from flare_core.testing.comparison import comparable
from flare_core.testing.site import FakeSite


class ExecutorConformance(ABC):
    """Tests of an executor; subclass it as ``TestYours`` and define :meth:`make` and :meth:`tasks`.

    Attributes:
        config: the site's settings of the job.
        stops_within_s: how soon a task must end when it is cancelled, in seconds.
    """

    config: Mapping[str, Any] = {}
    stops_within_s = 10.0

    @abstractmethod
    def make(self) -> Executor:
        """Return a new executor."""

    @abstractmethod
    def tasks(self) -> Sequence[Task]:
        """Return a task of each kind that the executor does, in an order in which it can do them."""

    def travel(self, data: Any) -> Any:
        """Return what arrives when ``data`` are sent: a copy. Override it to use :mod:`flare_fobs`."""
        return copy.deepcopy(data)

    def test_it_does_each_of_its_tasks_and_the_replies_can_travel(self) -> None:
        executor, context = self.make(), FakeSite(config=self.config)
        for task in self.tasks():
            result = executor.execute(task, context)
            np.testing.assert_equal(comparable(self.travel(result)), comparable(result))

    def test_it_does_not_change_later_what_it_returned(self) -> None:
        executor, context = self.make(), FakeSite(config=self.config)
        results = [(executor.execute(task, context), task.name) for task in self.tasks()]
        before = copy.deepcopy(results)
        for task in self.tasks():
            executor.execute(task, context)
        np.testing.assert_equal(comparable(results), comparable(before))

    def test_it_stops_when_it_is_cancelled(self) -> None:
        for index, task in enumerate(self.tasks()):
            executor, context = self.make(), FakeSite(config=self.config)
            for earlier in self.tasks()[:index]:
                executor.execute(earlier, context)
            context.cancelled.set()
            thread = threading.Thread(target=executor.execute, args=(task, context), daemon=True)
            thread.start()
            thread.join(self.stops_within_s)
            assert not thread.is_alive(), (
                f"the task '{task.name}' goes on {self.stops_within_s} s after it was cancelled"
            )

"""Workflow parts of the measured jobs: one lets their rounds take turns, one repeats an evaluation."""

import os
import time

from flare_core import Workflow
from flare_core.events import RoundEnded, RoundStarted
from flare_core.observer import Observer


class Gate(Observer):
    """A part that blocks a job before each lot of rounds until a byte arrives, and reports the lot's duration.

    This lets the rounds of several jobs, each in its own process, take turns on one machine.

    Args:
        rounds: number of rounds in a lot.
        go, done: file descriptors of pipes.
    """

    def __init__(self, rounds: int, go: int, done: int) -> None:
        self.rounds = rounds
        self.go = go
        self.done = done
        self._left = 0
        self._seconds = 0.0
        self._began = 0.0

    def attach(self, run) -> None:
        run.events.subscribe(RoundStarted, self._started)
        run.events.subscribe(RoundEnded, self._ended)

    def _started(self, event) -> None:
        if self._left == 0:
            os.read(self.go, 1)
            self._left, self._seconds = self.rounds, 0.0
        self._began = time.perf_counter()

    def _ended(self, event) -> None:
        self._seconds += time.perf_counter() - self._began
        self._left -= 1
        if self._left == 0:
            os.write(self.done, f"{self._seconds:.9f}\n".encode())


class Repeated(Workflow):
    """A workflow that runs a one-round workflow, such as an evaluation, several times in one job."""

    def __init__(self, workflow: Workflow, times: int) -> None:
        self.workflow = workflow
        self.times = times

    def run(self, fed) -> None:
        for _ in range(self.times):
            self.workflow.run(fed)

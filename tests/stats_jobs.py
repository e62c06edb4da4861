"""Parts of jobs that compute statistics: a site that asks a gate before some of its tasks."""

from __future__ import annotations

import os
import socket

from flare_stats.executor import StatisticsExecutor


class Waiting(StatisticsExecutor):
    """Asks a gate before tasks of one name, each time its process does the n-th of them.

    Args:
        gate: the path of its socket; none is asked if it is empty.
        task: the name of the tasks.
        turn: which of them, counted from 1 in each process.
        settings: as for its base class.
    """

    def __init__(self, gate="", task="", turn=1, settings=None):
        super().__init__(**(settings or {}))
        self.gate, self.task, self.turn, self.settings = gate, task, turn, settings
        self._count = 0

    def execute(self, task, context):
        if self.gate and task.name == self.task:
            self._count += 1
            if self._count == self.turn:
                with socket.socket(socket.AF_UNIX) as connection:
                    connection.connect(self.gate)
                    connection.sendall(f"{context.party} {os.getpid()}".encode())
                    connection.recv(1)
        return super().execute(task, context)

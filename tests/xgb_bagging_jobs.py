"""A site of bagging that waits before it grows the trees of one round."""

from __future__ import annotations

import os
import socket

from flare_xgb.bagging.executor import TreeExecutor


class WaitingForest(TreeExecutor):
    """Asks a gate before it grows trees in one round, for the first time in its process."""

    def __init__(self, data_loader, xgb_params, gate="", round=0):
        super().__init__(data_loader, xgb_params)
        self.gate, self.round = gate, round
        self._has_asked = False

    def execute(self, task, context):
        if self.gate and (task.name, task.round) == ("grow", self.round) and not self._has_asked:
            self._has_asked = True
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(self.gate)
                connection.sendall(f"{context.party} {os.getpid()}".encode())
                connection.recv(1)
        return super().execute(task, context)

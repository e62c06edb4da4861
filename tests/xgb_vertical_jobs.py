"""Parts of jobs that grow trees from columns: a loader that deals them to two sites, and a site that waits."""

from __future__ import annotations

import os
import socket

import numpy as np

from flare_xgb.data import DataLoader, Table
from flare_xgb.vertical import VerticalExecutor

COUNT, WIDTH = 1000, 6


def joined() -> Table:
    random = np.random.default_rng(0)
    features = random.normal(size=(COUNT, WIDTH)).astype(np.float32)
    features[random.random(features.shape) < 0.05] = np.nan
    score = np.nan_to_num(features[:, 0] * features[:, 4]) + np.nan_to_num(features[:, 2])
    return Table.of(features, score > random.normal(size=COUNT), names=[f"c{number}" for number in range(WIDTH)])


class Columns(DataLoader):
    """Half of the columns; the first site has the labels."""

    def load_data(self):
        table = joined()
        own = slice(0, WIDTH // 2) if self.rank == 0 else slice(WIDTH // 2, WIDTH)
        return Table.of(table.features[:, own], None if self.rank else table.label, names=table.names[own]), None


class Waiting(VerticalExecutor):
    """Asks a gate before one of its tasks, counted from the start of its process."""

    def __init__(self, data_loader, xgb_params, *, secure="plain", joined_model=True, gate="", task=0):
        super().__init__(data_loader, xgb_params, secure=secure, joined_model=joined_model)
        self.gate, self.task = gate, task
        self._count = 0

    def execute(self, task, context):
        self._count += 1
        if self.gate and self._count == self.task:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(self.gate)
                connection.sendall(f"{context.party} {os.getpid()}".encode())
                connection.recv(1)
        return super().execute(task, context)

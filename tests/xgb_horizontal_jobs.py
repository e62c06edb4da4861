"""Parts of jobs that grow trees: a loader that deals the same rows to any number of sites, and a site that waits."""

from __future__ import annotations

import os
import socket

import numpy as np

from flare_xgb.data import DataLoader, Table
from flare_xgb.horizontal import HorizontalExecutor

COUNT = 2000


def all_rows() -> Table:
    random = np.random.default_rng(0)
    features = random.normal(size=(COUNT, 8)).astype(np.float32)
    features[random.random(features.shape) < 0.05] = np.nan
    score = np.nan_to_num(features[:, 0] * features[:, 1]) + np.nan_to_num(features[:, 2])
    return Table.of(features, score > random.normal(size=COUNT))


class Share(DataLoader):
    """A site's share of the rows."""

    def __init__(self, sites: int) -> None:
        self.sites = sites

    def load_data(self):
        return all_rows().take(slice(self.rank, None, self.sites)), None


class Waiting(HorizontalExecutor):
    """Notes the steps of trees whose histograms it computes in ``steps.txt``, and asks a gate before two of them.

    It asks at the steps ``step - 1`` and ``step`` of a tree, each for the first time in its process.
    """

    def __init__(self, data_loader, secure=None, gate="", tree=0, step=0):
        super().__init__(data_loader, secure)
        self.gate, self.tree, self.step = gate, tree, step
        self._asks_at = {(tree, step - 1), (tree, step)} if gate else set()

    def execute(self, task, context):
        for name, each in (task.data or {}).get("actions", ()):
            if name == "histograms":
                self._reach(each["number"], each["step"], context)
        return super().execute(task, context)

    def _reach(self, tree, step, context):
        with (context.folder / "steps.txt").open("a") as file:
            file.write(f"{tree} {step}\n")
        if (tree, step) in self._asks_at:
            self._asks_at.remove((tree, step))
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(self.gate)
                connection.sendall(f"{context.party} {os.getpid()}".encode())
                connection.recv(1)

"""Parts of jobs that intersect ids: made-up ids of each site, and sites that wait, also while they train together."""

from __future__ import annotations

import os
import socket

from flare_psi import PSI
from flare_psi.site import PSIExecutor
from flare_xgb.vertical import VerticalExecutor

SHARED = 700


def ids_of(site: str) -> list[str]:
    """Return 1,000 ids of a site, of which all sites have 700."""
    return [f"shared {number}" for number in range(SHARED)] + [f"{site} {number}" for number in range(300)]


class Ids(PSI):
    def load_items(self):
        return ids_of(self.site)


class Waiting(PSIExecutor):
    """Asks a gate before it passes on the points of one block in one step."""

    def __init__(self, local_psi, *, gate="", block=1, step=1):
        super().__init__(local_psi)
        self.gate, self.block, self.step = gate, block, step

    def execute(self, task, context):
        if self.gate and task.name == "psi.pass" and (task.data["block"], task.data["step"]) == (self.block, self.step):
            ask(self.gate, context.party)
        return super().execute(task, context)


class RowNames(PSI):
    """Names for the rows of a table that all sites have in the same order."""

    def __init__(self, count):
        self.count = count

    def load_items(self):
        return [f"row {number}" for number in range(self.count)]


class Training(VerticalExecutor):
    """Trains on rows that were aligned; asks a gate before one of its tasks, counted from the start of its process."""

    def __init__(self, data_loader, xgb_params, *, joined_model=True, row_file=None, gate="", task=0):
        super().__init__(data_loader, xgb_params, joined_model=joined_model, row_file=row_file)
        self.gate, self.task = gate, task
        self._count = 0

    def execute(self, task, context):
        self._count += 1
        if self.gate and self._count == self.task:
            ask(self.gate, context.party)
        return super().execute(task, context)


def ask(gate, party):
    """Wait until the test lets this process go on."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(gate)
        connection.sendall(f"{party} {os.getpid()}".encode())
        connection.recv(1)

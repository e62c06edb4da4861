"""Parts of jobs that intersect ids: made-up ids of each site, and a site that waits."""

from __future__ import annotations

import os
import socket

from flare_psi import PSI
from flare_psi.site import PSIExecutor

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
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(self.gate)
                connection.sendall(f"{context.party} {os.getpid()}".encode())
                connection.recv(1)
        return super().execute(task, context)

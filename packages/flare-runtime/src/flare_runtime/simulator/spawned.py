"""Entry of a worker that was started afresh.

``python -m flare_runtime.simulator.spawned <descriptor of its link> <plan> <descriptor of the lanes>``.
"""

from __future__ import annotations

import socket
import sys
from typing import NoReturn

from flare_runtime.site.plan import WorkerPlan
from flare_runtime.worker import run_worker


def main(arguments: list[str]) -> NoReturn:
    """Read the plan and serve it."""
    plan = WorkerPlan.from_json(arguments[1])
    run_worker(plan, socket.socket(fileno=int(arguments[0])), lanes=int(arguments[2]))


if __name__ == "__main__":
    main(sys.argv[1:])

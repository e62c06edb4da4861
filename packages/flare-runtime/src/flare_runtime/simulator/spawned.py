"""Entry of a worker that was started afresh.

``python -m flare_runtime.simulator.spawned <descriptor of its link> <plan> <descriptor of the lanes>``.
"""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from typing import NoReturn

from flare_core import load_job
from flare_runtime.site.plan import WorkerPlan
from flare_runtime.worker import run_worker

__all__ = ["main"]


def main(arguments: list[str]) -> NoReturn:
    """Read the plan and serve it."""
    plan = json.loads(arguments[1])
    run_worker(
        WorkerPlan(
            index=plan["index"],
            job=load_job(Path(plan["job"])),
            job_id=plan["job_id"],
            sites=tuple(plan["sites"]),
            run_folder=Path(plan["run_folder"]),
            log_config=plan["log_config"],
            environment=plan["environment"],
            core=plan["core"],
            lane=plan["lane"],
        ),
        socket.socket(fileno=int(arguments[0])),
        lanes=int(arguments[2]),
    )


if __name__ == "__main__":
    main(sys.argv[1:])

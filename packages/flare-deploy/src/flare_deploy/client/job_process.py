"""A job's process at a site: ``python -m flare_deploy.client.job_process <descriptor> <plan> <lock>``.

It is a worker like those of the simulator, with one site. The output of its script is sent to the server as well.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
from functools import partial
from pathlib import Path
from typing import NoReturn

from flare_core.job_folder import load_job
from flare_deploy.processes.lock_file import close_in_children
from flare_deploy.provision.kit import Kit
from flare_runtime.processes.exit_codes import NO_SERVER
from flare_runtime.site.plan import WorkerPlan
from flare_runtime.worker import run_worker
from flare_transport import Cell, TransportError

__all__ = ["main"]

logger = logging.getLogger(__name__)


def _connect(folder: Path, cell: Cell) -> None:
    """Connect to the server with the site's kit: through the site's daemon, models would be sent twice."""
    kit = Kit.load(folder, kind="client")
    try:
        cell.seal_with(kit.credentials)  # messages to other sites pass through the server
        cell.connect(kit.info.address, credentials=kit.credentials, peer=kit.info.listener, uplink=True)
    except TransportError:
        logger.exception("no connection to the server")
        os._exit(NO_SERVER)  # so that the job does not fail as if its script had


def main(arguments: list[str]) -> NoReturn:
    """Run the script of a job's site, as its plan says."""
    close_in_children(int(arguments[2]))
    plan = json.loads(Path(arguments[1]).read_text())
    worker = WorkerPlan(
        index=1,
        job=load_job(Path(plan["app"])),
        job_id=plan["job_id"],
        sites=(plan["site"],),
        run_folder=Path(plan["run_folder"]),
        log_config="INFO",
        cell=plan["cell"],
        server=plan["server"],
        link_to=plan["daemon"],
        connect=partial(_connect, Path(plan["kit"])),
    )
    worker.turn_file.parent.mkdir(exist_ok=True)
    worker.turn_file.write_bytes(bytes(4))
    run_worker(worker, socket.socket(fileno=int(arguments[0])))


if __name__ == "__main__":
    main(sys.argv[1:])

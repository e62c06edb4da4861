"""A job's process at a site: ``python -m flare_deploy.client.job_process <descriptor> <plan> <lock>``.

It is a worker like those of the simulator, with one site. The output of its script is sent to the server as well.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NoReturn

from flare_deploy.processes.lock_file import close_in_children
from flare_deploy.provision.kit import Kit
from flare_runtime.processes.exit_codes import NO_SERVER
from flare_runtime.site.plan import WorkerPlan
from flare_runtime.worker import run_worker
from flare_transport import Cell, TransportError

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
    """Run the script of a job's site, as its plan says; the file of the plan is ``<kit>/jobs/<job>/plan.json``."""
    close_in_children(int(arguments[2]))
    file = Path(arguments[1])
    plan = replace(WorkerPlan.from_json(file.read_text()), connect=partial(_connect, file.parents[2]))
    plan.turn_file.parent.mkdir(exist_ok=True)
    plan.turn_file.write_bytes(bytes(4))
    run_worker(plan, socket.socket(fileno=int(arguments[0])))


if __name__ == "__main__":
    main(sys.argv[1:])

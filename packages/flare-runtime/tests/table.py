"""The server's side alone, with sites that are simulated by the test."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from flare_core import FLModel, Workflow
from flare_core.events import Event
from flare_core.job import CodeBundle
from flare_runtime.endpoint.at_server import ServerHub
from flare_runtime.run.checkpoint_store import CheckpointStore
from flare_runtime.run.dispatch import Dispatch
from flare_runtime.run.event_log import EventLog
from flare_runtime.run.federation import SitesFederation
from flare_runtime.run.folder import RunFolder
from flare_runtime.run.persistor import SafetensorsPersistor
from flare_runtime.run.roster import Roster
from flare_tensor_downloader import Downloader
from flare_transport import Cell, SocketLink

SITES = ("site-1", "site-2", "site-3", "site-4")


class Table:
    """A federation whose sites are cells of the test."""

    def __init__(self, folder: RunFolder, sites: Sequence[str] = SITES) -> None:
        self.folder = folder
        self.server = Cell("server")
        self.server.handle("sync", lambda message: None)
        self.tasks: dict[str, list] = {site: [] for site in sites}
        self.all_have_a_task = threading.Barrier(len(sites) + 1)
        self.cells = {}
        self.downloaders = {}
        for site in sites:
            self.connect(site)
        self.checkpoints = CheckpointStore(folder, SafetensorsPersistor(), CodeBundle(folder.path))
        self.log = EventLog(folder)
        roster = Roster({site: site for site in sites}, can_leave=False)
        self.federation = SitesFederation(
            job_id="job/1",
            seed=0,
            roster=roster,
            cell=self.server,
            hub=ServerHub(self.server),
            dispatch=Dispatch(self.server, Downloader(self.server), roster, [], [], "job"),
            checkpoints=self.checkpoints,
        )
        self.federation.events.subscribe(Event, self.log.write)

    def connect(self, name: str) -> None:
        """Connect the cell of a site."""
        cell = self.cells[name] = Cell(name)
        self.downloaders[name] = Downloader(cell)
        here, there = SocketLink.pair("server", name)
        self.server.attach(here)
        cell.attach(there)
        cell.handle("task", self._on_task)
        cell.handle("end", lambda message: None)

    def _on_task(self, message) -> None:
        self.tasks[message.to].append(message.payload)
        self.all_have_a_task.wait(20)

    def reply(self, site: str, model: FLModel) -> None:
        """Send a reply, and return when the server has received it."""
        task_id = self.tasks[site][-1][0]
        self.cells[site].send("server", "result", [task_id, site, model])
        self.cells[site].request("server", "sync", timeout_s=20)

    def close(self) -> None:
        self.checkpoints.close()
        self.log.close()
        for cell in (self.server, *self.cells.values()):
            cell.close()


def run(table: Table, workflow: Workflow) -> tuple[threading.Thread, list[BaseException]]:
    errors: list[BaseException] = []

    def work() -> None:
        try:
            workflow.run(table.federation)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread, errors

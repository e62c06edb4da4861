"""The server's side alone, with sites that reply when the test says so."""

from __future__ import annotations

import itertools
import threading

import numpy as np
import pytest

from flare_core import CodeBundle, FLModel, SiteError
from flare_core.workflows import FedAvg
from flare_runtime.checkpoints import Checkpoints
from flare_runtime.federation import SitesFederation
from flare_runtime.record import MetricsFile
from flare_runtime.roster import Roster
from flare_runtime.run_folder import RunFolder
from flare_tensor_downloader import Downloader, read_file
from flare_transport import Cell, InprocLink

SITES = ("site-1", "site-2", "site-3", "site-4")


class Table:
    """A federation, and its sites as cells that the test plays."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.server = Cell("server")
        self.server.handle("sync", lambda message: None)
        self.tasks: dict[str, list] = {site: [] for site in SITES}
        self.all_have_a_task = threading.Barrier(len(SITES) + 1)
        self.cells = {}
        self.downloaders = {}
        for site in SITES:
            cell = self.cells[site] = Cell(site)
            self.downloaders[site] = Downloader(cell)
            here, there = InprocLink.pair("server", site)
            self.server.attach(here)
            cell.attach(there)
            cell.handle("task", self._on_task)
            cell.handle("end", lambda message: None)
        self.checkpoints = Checkpoints(folder, None, CodeBundle(folder.path))
        self.metrics = MetricsFile(folder.metrics)
        self.federation = SitesFederation(
            job_id="job/1",
            seed=0,
            roster=Roster({site: site for site in SITES}, can_leave=False),
            cell=self.server,
            downloader=Downloader(self.server),
            checkpoints=self.checkpoints,
            metrics=self.metrics,
            task_filters=[],
            result_filters=[],
        )

    def _on_task(self, message) -> None:
        self.tasks[message.to].append(message.payload)
        self.all_have_a_task.wait(20)

    def reply(self, site: str, model: FLModel) -> None:
        """Send a reply, and return when the server has it."""
        task_id = self.tasks[site][-1][0]
        self.cells[site].send("server", "result", [task_id, site, model])
        self.cells[site].request("server", "sync", timeout_s=20)

    def close(self) -> None:
        self.checkpoints.close()
        self.metrics.close()
        for cell in (self.server, *self.cells.values()):
            cell.close()


@pytest.fixture
def table(tmp_path):
    made = Table(RunFolder.create(tmp_path, "job"))
    yield made
    made.close()


def run(table: Table, workflow: FedAvg) -> tuple[threading.Thread, list[BaseException]]:
    errors: list[BaseException] = []

    def work() -> None:
        try:
            workflow.run(table.federation)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread, errors


def model_of(site: str, round_: int) -> FLModel:
    generator = np.random.default_rng([int(site[-1]), round_])
    params = {"w": generator.normal(size=1001).astype(np.float32), "deep": {"b": generator.normal(size=3)}}
    return FLModel(params=params, meta={"NUM_STEPS_CURRENT_ROUND": float(generator.random() + 0.1)})


@pytest.mark.parametrize("order", list(itertools.permutations(SITES))[::5])
def test_the_order_of_arrival_does_not_change_a_bit(tmp_path, order):
    found = []
    for number, arrival in enumerate((SITES, order)):
        table = Table(RunFolder.create(tmp_path / str(number), "job"))
        thread, errors = run(table, FedAvg(min_clients=4, num_rounds=2, key_metric=None))
        for round_ in range(2):
            table.all_have_a_task.wait(20)
            for site in arrival:
                table.reply(site, model_of(site, round_))
        thread.join(20)
        table.close()
        assert not errors
        found.append(read_file(table.folder.checkpoint("global")))
    assert found[0]["w"].tobytes() == found[1]["w"].tobytes()
    assert found[0]["deep"]["b"].tobytes() == found[1]["deep"]["b"].tobytes()


def test_a_site_that_fails_ends_the_round_with_its_name(table):
    thread, errors = run(table, FedAvg(min_clients=4, num_rounds=1, key_metric=None))
    table.all_have_a_task.wait(20)
    table.reply("site-1", model_of("site-1", 0))
    table.federation.fail("site-3", "site-3: its script was killed by SIGKILL", "no traceback")
    thread.join(20)
    assert isinstance(errors[0], SiteError)
    assert errors[0].site == "site-3"


def test_nobody_speaks_for_another_site(table, caplog):
    thread, errors = run(table, FedAvg(min_clients=4, num_rounds=1, key_metric=None))
    table.all_have_a_task.wait(20)
    table.cells["site-2"].send("server", "result", [1, "site-1", model_of("site-1", 0)])
    for site in SITES:
        table.reply(site, model_of(site, 0))
    thread.join(20)
    assert not errors
    assert "spoke for the site 'site-1', which is not its own" in caplog.text


def test_a_reply_that_cannot_be_read_ends_the_run_and_says_whose_it_was(table):
    thread, errors = run(table, FedAvg(min_clients=4, num_rounds=1, key_metric=None))
    table.all_have_a_task.wait(20)
    table.cells["site-2"].send("server", "result", ["not", "three things"])
    thread.join(20)
    assert "site-2" in str(errors[0])
    assert "cannot be read" in str(errors[0])


def test_a_late_reply_is_ignored(table, caplog):
    thread, errors = run(table, FedAvg(min_clients=4, num_rounds=2, key_metric=None))
    table.all_have_a_task.wait(20)
    for site in SITES:
        table.reply(site, model_of(site, 0))
    table.all_have_a_task.wait(20)
    table.cells["site-1"].send("server", "result", [table.tasks["site-1"][0][0], "site-1", model_of("site-1", 7)])
    for site in SITES:
        table.reply(site, model_of(site, 1))
    thread.join(20)
    assert not errors
    assert "late result ignored site=site-1" in caplog.text

"""Rounds that end when a quorum of the sites has replied; the sites are simulated by the test."""

from __future__ import annotations

import queue

import numpy as np
import pytest
from table import SITES, Table, run

from flare_core import BestModel, FLModel, ParamsType
from flare_core.workflows import FedAvg, FedOpt
from flare_runtime.run.folder import RunFolder
from flare_tensor_downloader import read_file


class Devices(Table):
    """A table whose sites get tasks at different times."""

    def __init__(self, folder, sites=SITES) -> None:
        self.given: dict[str, queue.Queue] = {}
        super().__init__(folder, sites)

    def connect(self, name: str) -> None:
        self.given[name] = queue.Queue()
        super().connect(name)
        self.cells[name].handle("withdraw", lambda message: None)

    def _on_task(self, message) -> None:
        self.given[message.to].put(message.payload)

    def next_task(self, site: str):
        """Return the id and the model of a site's next task."""
        task_id, _, _, _, model, _ = self.given[site].get(timeout=20)
        return task_id, model

    def answer(self, cell: str, task_id: int, value: float, *, kind=ParamsType.DIFF, site=None, **rest) -> None:
        """Reply, and return when the server has received the reply."""
        model = FLModel(params={"w": np.full(3, value)}, params_type=kind, **rest)
        self.cells[cell].send("server", "result", [task_id, site or cell, model])
        self.cells[cell].request("server", "sync", timeout_s=20)


@pytest.fixture
def devices(tmp_path):
    made = []

    def make(count: int) -> Devices:
        made.append(Devices(RunFolder.create(tmp_path, "job"), [f"site-{number}" for number in range(1, count + 1)]))
        made[0].checkpoints.save(FLModel(params={"w": np.zeros(3)}), "global")
        return made[0]

    yield make
    for table in made:
        table.close()


def start(devices: Devices, workflow: FedAvg):
    """Start a workflow with a model of zeros."""
    fed = devices.federation
    fed.load = lambda name="global": FLModel(params={"w": np.zeros(3)})
    return run(devices, workflow)


def saved(devices: Devices, name: str = "global") -> np.ndarray:
    devices.checkpoints.close()
    return np.array(read_file(devices.folder.checkpoint(name))["w"])


class TenThenEleven(FedAvg):
    def _sample(self, fed):
        self.quorum = 10 + fed.round
        return super()._sample(fed)


@pytest.mark.parametrize("kind", list(ParamsType))
@pytest.mark.parametrize(
    ("exponent", "expected"),
    [(0.0, 20 / 11), (0.5, (10 / np.sqrt(2) + 10) / 11), (1.0, 15 / 11)],
)
def test_c32_versions_are_not_what_is_weighed(devices, kind, exponent, expected):
    """One device has added 10 to the previous version, ten have added 1 to this one: 20/11, not 11 or 5.5."""
    table = devices(11)
    workflow = TenThenEleven(min_clients=1, num_rounds=2, quorum=10, staleness_exponent=exponent)
    thread, errors = start(table, workflow)
    old, _ = table.next_task("site-1")
    others = list(table.cells)[1:]
    for site in others:
        table.answer(site, table.next_task(site)[0], 0.0, kind=kind)
    given = [table.next_task(site)[0] for site in others]
    table.answer("site-1", old, 10.0, kind=kind)
    for site, task_id in zip(others, given, strict=True):
        table.answer(site, task_id, 1.0, kind=kind)
    thread.join(20)
    assert not errors
    np.testing.assert_allclose(saved(table), expected, rtol=1e-12)


def test_c32_what_is_too_old_or_twice_or_anothers_counts_not(devices, caplog):
    table = devices(3)
    thread, errors = start(table, FedAvg(min_clients=1, num_rounds=3, quorum=2, max_staleness=0, staleness_exponent=0))
    old, _ = table.next_task("site-1")
    for _ in range(2):
        tasks = {site: table.next_task(site)[0] for site in ("site-2", "site-3")}
        table.answer("site-2", tasks["site-2"], 1.0)
        table.answer("site-2", tasks["site-2"], 500.0)  # twice
        table.cells["site-2"].send("server", "result", [tasks["site-3"], "site-3", FLModel(params={"w": np.ones(3)})])
        table.answer("site-3", tasks["site-3"], 1.0)
    newest, model = table.next_task("site-1")  # of round 1: what it had was withdrawn
    assert newest != old
    assert model.current_round == 1
    table.answer("site-1", old, 1000.0)  # too old
    tasks = {site: table.next_task(site)[0] for site in ("site-2", "site-3")}
    table.answer("site-2", tasks["site-2"], 1.0)
    table.answer("site-3", tasks["site-3"], 1.0)
    thread.join(20)
    assert not errors
    np.testing.assert_allclose(saved(table), 3.0)
    assert "late result ignored site=site-1" in caplog.text
    assert "late result ignored site=site-2" in caplog.text
    assert "site-2 spoke for the site 'site-3'" in caplog.text


def test_a_slow_site_is_not_awaited_and_its_work_is_used_later(devices):
    table = devices(2)
    thread, errors = start(table, FedAvg(min_clients=2, num_rounds=5, quorum=1, staleness_exponent=1))
    slow, first = table.next_task("site-1")
    assert first.current_round == 0
    for _ in range(4):
        table.answer("site-2", table.next_task("site-2")[0], 1.0)
    table.next_task("site-2")
    table.answer("site-1", slow, 5.0)  # made from the model of four rounds ago
    thread.join(20)
    assert not errors
    np.testing.assert_allclose(saved(table), 4 * 1.0 + 5.0 / 5)


def test_the_server_optimizer_gets_the_same_update(devices):
    table = devices(2)
    thread, errors = start(table, FedOpt(min_clients=2, num_rounds=2, quorum=1, staleness_exponent=0))
    slow, _ = table.next_task("site-1")
    table.answer("site-2", table.next_task("site-2")[0], 1.0)
    table.next_task("site-2")
    table.answer("site-1", slow, 2.0)
    thread.join(20)
    assert not errors
    np.testing.assert_allclose(saved(table), 1.0 + (2.0 + 0.6 * 1.0))  # momentum of 0.6


def test_the_best_model_is_one_that_a_quorum_has_measured(devices):
    table = devices(3)
    best = BestModel("accuracy")
    thread, errors = start(table, FedAvg(min_clients=3, num_rounds=3, quorum=2, staleness_exponent=0, callbacks=[best]))
    tasks = {site: table.next_task(site)[0] for site in table.cells}
    for site in ("site-2", "site-3"):  # round 0: the zeros, measured by two
        table.answer(site, tasks[site], 1.0, metrics={"accuracy": 0.1})
    tasks |= {site: table.next_task(site)[0] for site in ("site-2", "site-3")}
    table.answer("site-1", tasks["site-1"], 1.0, metrics={"accuracy": 0.99})  # of round 0, which is decided
    table.answer("site-2", tasks["site-2"], 1.0, metrics={"accuracy": 0.5})  # one measurement of round 1's
    tasks |= {site: table.next_task(site)[0] for site in ("site-1", "site-2")}
    table.answer("site-3", tasks["site-3"], 1.0, metrics={"accuracy": 0.7})  # and the second
    table.answer("site-1", tasks["site-1"], 1.0, metrics={"accuracy": 0.0})
    thread.join(20)
    assert not errors
    np.testing.assert_allclose(saved(table, "best"), 1.0)  # what round 1 sent out


def test_a_lost_site_is_not_awaited(devices):
    table = devices(3)
    table.federation.roster.can_leave = True
    thread, errors = start(table, FedAvg(min_clients=1, num_rounds=2, quorum=2, staleness_exponent=0))
    tasks = {site: table.next_task(site)[0] for site in table.cells}
    table.federation.leave("site-1", "its cable was cut")
    table.federation.leave("site-2", "its cable was cut")
    table.answer("site-3", tasks["site-3"], 1.0)
    table.answer("site-3", table.next_task("site-3")[0], 1.0)
    thread.join(20)
    assert not errors
    np.testing.assert_allclose(saved(table), 2.0)


def test_a_site_that_returns_before_its_loss_is_noticed_gets_its_task_again(devices):
    """Its new process knows nothing of the task that the former one was given."""
    table = devices(2)
    table.federation.roster.can_leave = True
    thread, errors = start(table, FedAvg(min_clients=2, num_rounds=1))
    tasks = {site: table.next_task(site)[0] for site in ("site-1", "site-2")}
    table.connect("site-1.second")
    table.cells["site-1.second"].send("server", "ready", ["site-1"])
    again = table.next_task("site-1.second")[0]
    table.federation.leave_below("site-1", "its connection ended")  # noticed after all
    table.connect("site-1.third")
    table.cells["site-1.third"].send("server", "ready", ["site-1"])
    assert table.next_task("site-1.third")[0] == again == tasks["site-1"]
    table.answer("site-1.third", again, 1.0, site="site-1")
    table.answer("site-2", tasks["site-2"], 3.0)
    thread.join(20)
    assert not errors
    np.testing.assert_allclose(saved(table), 2.0)

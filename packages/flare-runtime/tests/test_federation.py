"""The server's side alone, with sites that are simulated by the test."""

from __future__ import annotations

import itertools
import queue
import threading

import numpy as np
import pytest
from table import SITES, Table, run

from flare_core import FLModel, SiteError, Workflow
from flare_core.events import StillWaiting
from flare_core.workflows import FedAvg
from flare_runtime.run.folder import RunFolder
from flare_tensor_downloader import DownloadError, read_file
from flare_tensor_downloader.wire import send_params


@pytest.fixture
def table(tmp_path):
    made = Table(RunFolder.create(tmp_path, "job"))
    yield made
    made.close()


def model_of(site: str, round_: int) -> FLModel:
    generator = np.random.default_rng([int(site[-1]), round_])
    params = {"w": generator.normal(size=1001).astype(np.float32), "deep": {"b": generator.normal(size=3)}}
    return FLModel(params=params, meta={"NUM_STEPS_CURRENT_ROUND": float(generator.random() + 0.1)})


@pytest.mark.parametrize("order", list(itertools.permutations(SITES))[::5])
def test_the_order_of_arrival_does_not_change_a_bit(tmp_path, order):
    found = []
    for number, arrival in enumerate((SITES, order)):
        table = Table(RunFolder.create(tmp_path / str(number), "job"))
        thread, errors = run(table, FedAvg(min_clients=4, num_rounds=2))
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
    thread, errors = run(table, FedAvg(min_clients=4, num_rounds=1))
    table.all_have_a_task.wait(20)
    table.reply("site-1", model_of("site-1", 0))
    table.federation.fail("site-3", "site-3: its script was killed by SIGKILL", "no traceback")
    thread.join(20)
    assert isinstance(errors[0], SiteError)
    assert errors[0].site == "site-3"


def test_a_site_cannot_reply_for_another_site(table, caplog):
    thread, errors = run(table, FedAvg(min_clients=4, num_rounds=1))
    table.all_have_a_task.wait(20)
    table.cells["site-2"].send("server", "result", [1, "site-1", model_of("site-1", 0)])
    for site in SITES:
        table.reply(site, model_of(site, 0))
    thread.join(20)
    assert not errors
    assert "spoke for the site 'site-1', which it does not serve" in caplog.text


def test_an_unreadable_reply_ends_the_run_and_names_its_site(table):
    thread, errors = run(table, FedAvg(min_clients=4, num_rounds=1))
    table.all_have_a_task.wait(20)
    table.cells["site-2"].send("server", "result", ["not", "three things"])
    thread.join(20)
    assert "site-2" in str(errors[0])
    assert "cannot be read" in str(errors[0])


def test_a_late_reply_is_ignored(table, caplog):
    thread, errors = run(table, FedAvg(min_clients=4, num_rounds=2))
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


class Damaged(Workflow):
    """Finds the first reply of a round damaged, once."""

    def run(self, federation):
        for _ in federation.rounds(1):
            for _reply in federation.broadcast("train", FLModel(params={"w": np.zeros(2)})):
                raise DownloadError("the bytes are not those that were sent")


def test_a_site_whose_result_was_not_read_completely_continues_when_the_round_restarts(table):
    thread, errors = run(table, Damaged())
    table.all_have_a_task.wait(20)
    outgoing, offer = send_params(FLModel(params={"w": np.zeros(1 << 20)}), table.downloaders["site-1"])
    released = threading.Event()
    offer.when_released(released.set)
    table.reply("site-1", outgoing)
    thread.join(20)
    assert isinstance(errors[0], DownloadError)
    assert table.federation.is_reading
    assert not released.is_set()
    table.federation.continue_from(None, 0)
    assert released.wait(20)
    assert not table.federation.is_reading


def test_a_long_wait_is_announced_with_its_cause(table):
    told: queue.SimpleQueue[StillWaiting] = queue.SimpleQueue()
    table.federation.notice_s = 0.05
    table.federation.events.subscribe(StillWaiting, told.put)
    thread, errors = run(table, FedAvg(min_clients=4, num_rounds=1))
    table.all_have_a_task.wait(20)
    for site in SITES[:-1]:
        table.reply(site, model_of(site, 0))
    while told.get(timeout=20).what != f"results of 'train' in round 0 from {SITES[-1]}":
        pass
    table.reply(SITES[-1], model_of(SITES[-1], 0))
    thread.join(20)
    assert not errors

"""A task is withdrawn while its model is fetched: the site skips it, whichever of the two it notices first."""

from __future__ import annotations

import queue
import sys
import threading
from contextlib import closing
from pathlib import PurePosixPath

import numpy as np
import pytest

from flare_core import FLModel, Job, Task
from flare_core.job import ClientApp, CodeBundle, ServerApp
from flare_runtime.endpoint.at_site import SiteHub
from flare_runtime.scripts.external import ScriptHost, run_external
from flare_runtime.scripts.task_queue import TaskQueue
from flare_runtime.site.plan import WorkerPlan
from flare_runtime.site.site import Site
from flare_tensor_downloader import Downloader, DownloadError, UnknownReferenceError
from flare_tensor_downloader.wire import send_params
from flare_transport import Cell, SocketLink

SCRIPT = """
import flare_core.client as flare

flare.init()
while flare.is_running():
    flare.send(flare.receive())
"""
SETTINGS = {"exchange_format": "numpy", "params_transfer_type": "FULL"}


class Place:
    """A site with a task whose model the server has released."""

    def __init__(self, folder, server, worker, offers):
        (folder / "client.py").write_text(SCRIPT)
        code = CodeBundle(folder, (PurePosixPath("client.py"),))
        job = Job(name="job", min_clients=1, server=ServerApp(workflows=[]), client=ClientApp(executors=[]), code=code)
        self.site = Site(
            "site-1",
            WorkerPlan(1, job, "1", ("site-1",), folder, "INFO", {}),
            cell=worker,
            downloader=Downloader(worker),
            folder=folder,
            output=(folder / "log.txt").open("w"),
            endpoint=SiteHub(worker, "server", ("site-1",)).endpoint("site-1"),
            fail=self._failed,
        )
        self.queue = TaskQueue(self.site)
        self.number = 0
        self.asked = queue.Queue()
        server.handle("tensor.pull", self._refuse)
        self._model, _ = send_params(FLModel(params={"w": np.zeros(1_000_000)}), offers, receivers={"worker-1": 1})
        self.give(1)

    def _failed(self, message, details):
        raise AssertionError(message)

    def give(self, number):
        self.number = number
        self.queue.deliver(number, lambda: Task("train", self._model, number))

    def withdraw(self):
        self.queue.withdraw(self.number)

    def end(self):
        self.queue.end()

    def _refuse(self, message):
        self.asked.put(message)
        raise UnknownReferenceError("the server offers nothing under this reference (any more)")


@pytest.fixture
def place(tmp_path):
    with Cell("server") as server, Cell("worker-1") as worker, closing(Downloader(server)) as offers:
        here, there = SocketLink.pair("server", "worker-1")
        server.attach(here)
        worker.attach(there)
        place = Place(tmp_path, server, worker, offers)
        yield place
        ScriptHost.end_all()  # and remove where they were reached
        place.site.downloader.close()
        place.site.output.close()


def outcome_of(function):
    """Call a function on a thread; return a function that waits for its result."""
    outcome = queue.Queue()

    def call():
        try:
            outcome.put(function())
        except Exception as error:
            outcome.put(error)

    threading.Thread(target=call, daemon=True).start()
    return lambda: outcome.get(timeout=30)


def tells(place, *news):
    place.asked.get(timeout=30)
    for each in news:
        getattr(place, each)()


@pytest.mark.parametrize("news", [["withdraw", "end"], ["end"]])
def test_a_script_in_its_own_process_skips_a_withdrawn_task(place, news):
    command = [sys.executable, str(place.site.code.locate("client.py"))]
    ended = outcome_of(lambda: run_external(place.queue, command, SETTINGS, []))
    tells(place, *news)
    assert ended() is None
    assert not place.queue.owes_reply()


@pytest.mark.parametrize("news", [["withdraw", "end"], ["end"]])
def test_a_script_in_the_sites_process_skips_a_withdrawn_task(place, news):
    taken = outcome_of(place.queue.next_task)
    tells(place, *news)
    assert taken() is None
    assert not place.queue.owes_reply()


def test_any_number_of_tasks_can_be_withdrawn_while_a_script_waits_for_the_next(place):
    taken = outcome_of(place.queue.next_task)
    for number in range(2, 2 * sys.getrecursionlimit()):
        tells(place, "withdraw")
        place.give(number)
    tells(place, "withdraw", "end")
    assert taken() is None


def test_any_number_of_tasks_can_be_withdrawn_from_a_script_in_its_own_process(place):
    command = [sys.executable, str(place.site.code.locate("client.py"))]
    ended = outcome_of(lambda: run_external(place.queue, command, SETTINGS, []))
    for number in range(2, 2 * sys.getrecursionlimit()):
        tells(place, "withdraw")
        place.give(number)
    tells(place, "withdraw", "end")
    assert ended() is None


def test_a_model_that_cannot_be_fetched_for_another_reason_is_an_error(place):
    place.queue.take()
    assert not place.queue.drop_if_withdrawn(DownloadError("the bytes are not those that were sent"))
    assert place.queue.owes_reply()

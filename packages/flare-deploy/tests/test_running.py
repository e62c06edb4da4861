"""The server's reaction to the end of a job's process at a site."""

from __future__ import annotations

import queue
import signal
from contextlib import closing
from types import SimpleNamespace

import pytest

from flare_core import Job
from flare_core.job import ClientApp, CodeBundle, ServerApp
from flare_core.job_folder import export_job
from flare_deploy.server.running import MAX_CRASHES, RunningJob
from flare_deploy.server.site_archives import make_site_archives
from flare_deploy.server.store import JobRow
from flare_runtime.processes.exit_codes import KILLED_SCRIPT, LOST_SERVER, NO_SERVER
from flare_tensor_downloader import Downloader
from flare_transport import Cell, SocketLink


@pytest.fixture
def place(tmp_path):
    """A job at the server, and a queue of the cells for which its site is sent the job."""
    job = Job("job", 1, ServerApp(), ClientApp(), CodeBundle(tmp_path))
    (tmp_path / "archives").mkdir()
    make_site_archives(export_job(job, tmp_path), tmp_path / "archives")
    sent = queue.Queue()
    with Cell("server") as server, Cell("site-1") as site, closing(Downloader(server)) as downloader:
        site.handle("job.start", lambda message: sent.put(message.payload["cell"]))
        here, there = SocketLink.pair("server", "site-1")
        server.attach(here)
        site.attach(there)
        daemon = SimpleNamespace(cell=server, downloader=downloader, kit=SimpleNamespace(folder=tmp_path))
        row = JobRow("1", "job", "default", "admin", "digest")
        job = RunningJob(daemon, row, tmp_path, sites=("site-1",), gpus={})
        job.is_up = True
        yield job, sent


def starts(place, code, most=20):
    """Return how often a site is sent the job if its process always ends with a code."""
    job, sent = place
    for count in range(1, most + 1):
        job.deploy("site-1")
        if not job.site_exited("site-1", sent.get(timeout=10), code, ""):
            return count
    return most


@pytest.mark.parametrize("code", [-signal.SIGKILL, KILLED_SCRIPT, NO_SERVER])
def test_a_site_whose_process_is_killed_repeatedly_fails(place, code):
    assert starts(place, code) == MAX_CRASHES + 1


def test_a_completed_round_resets_the_count(place):
    job, _ = place
    assert starts(place, -signal.SIGKILL, most=MAX_CRASHES) == MAX_CRASHES
    job.rounds_completed(1)
    assert starts(place, -signal.SIGKILL) == MAX_CRASHES + 1


def test_a_connection_may_be_lost_any_number_of_times(place):
    assert starts(place, LOST_SERVER) == 20

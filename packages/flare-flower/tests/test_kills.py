"""Processes of a Flower run are killed while a ClientApp is in the middle of a round.

The ClientApp waits at a FIFO, so a test knows when it is there, and lets it go on. Nothing here waits for a time.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from flower_probe import PROBE, flower_processes, left_after, unprivileged

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240), pytest.mark.at_length, unprivileged]

JOB = """
import json, sys
from flare_flower import FlowerRecipe
from flare_runtime import SimEnv

options = json.loads(sys.argv[1])
recipe = FlowerRecipe(name="probe", flower_content=options["app"], min_clients=2, run_config=options["run_config"])
env = SimEnv(num_clients=options["sites"], workspace_root="runs")
run = recipe.execute(env, raise_on_failure=False)
print("OUTCOME", run.get_status().name, run.summary()["warnings"])
run.get_result()
"""


class PausedJob:
    """A job in a process of its own, whose ClientApps wait in round 1."""

    def __init__(self, folder: Path, sites: int, partition: int) -> None:
        self.folder = folder
        self.mark = folder / "mark"
        self.mark.mkdir()
        os.mkfifo(self.mark / "go")
        run_config = {"behavior": "pause", "partition": partition, "mark": str(self.mark), "nodes": sites}
        options = {"app": str(PROBE), "sites": sites, "run_config": run_config}
        self.process = subprocess.Popen(
            [sys.executable, "-c", JOB, json.dumps(options)],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    @contextmanager
    def paused(self):
        """Wait until a ClientApp waits; let it go on at the end of the block."""
        with (self.mark / "go").open("w"):  # returns when there is a reader
            yield

    def flower(self, name: str, site: str | None = None) -> psutil.Process:
        """Return the process of a program of Flower's, or of a host, at the server or at a site."""
        found = flower_processes(self.folder, "/server/" if site is None else f"/sites/{site}/")
        for each in found:
            is_host = os.getsid(each.pid) == each.pid
            if (name == "host") == is_host and (is_host or each.name().startswith(name[:15])):
                return each
        raise AssertionError(f"no {name} of {site} in {found}")

    def outcome(self) -> tuple[str, str]:
        """Wait for the end; return the status, and all output."""
        output, _ = self.process.communicate(timeout=200)
        lines = [line for line in output.splitlines() if line.startswith("OUTCOME")]
        return (lines[0].split()[1] if lines else "", output)


@pytest.fixture
def paused_job(tmp_path):
    jobs = []

    def make(sites: int = 2, partition: int = 1) -> PausedJob:
        jobs.append(PausedJob(tmp_path, sites, partition))
        return jobs[-1]

    yield make
    for job in jobs:
        if job.process.poll() is None:
            os.killpg(job.process.pid, signal.SIGKILL)
        job.process.communicate()


@pytest.mark.parametrize("program", ["flower-superlink", "flwr-serverapp", "host"])
def test_a_killed_program_of_the_server_ends_the_run_with_its_name(paused_job, tmp_path, program):
    job = paused_job()
    with job.paused():
        job.flower(program).kill()
        status, output = job.outcome()
    assert status == "FAILED", output
    assert {"host": "Flower's host", "flwr-serverapp": "ServerApp"}.get(program, "flower-superlink") in output
    assert "was killed by signal 9" in output
    assert left_after(tmp_path) == []


def test_a_site_goes_on_after_its_programs_were_killed(paused_job, tmp_path):
    """Flower gives a node up when it has heard nothing of it for a minute; the others make the round."""
    job = paused_job(sites=5, partition=1)
    with job.paused():
        job.flower("flwr-clientapp", "site-2").kill()
        job.flower("flower-supernode", "site-3").kill()
        job.flower("host", "site-4").kill()
    status, output = job.outcome()
    assert status == "FINISHED", output
    for text in ("flower-supernode at site-3 was killed by signal 9", "host at site-4 was killed by signal 9"):
        assert text in output
    assert left_after(tmp_path) == []


def test_an_interrupted_run_leaves_no_process(paused_job, tmp_path):
    job = paused_job()
    with job.paused():
        assert len(flower_processes(tmp_path)) >= 8
        job.process.send_signal(signal.SIGINT)
        assert left_after(tmp_path, 5.0) == []
        _, output = job.outcome()
    assert "ABORTED" in output


def test_a_killed_launcher_takes_every_process_along(paused_job, tmp_path):
    job = paused_job()
    with job.paused():
        os.kill(job.process.pid, signal.SIGKILL)
        assert left_after(tmp_path, 5.0) == []


def test_a_killed_worker_of_a_site_takes_its_processes_along(paused_job, tmp_path):
    job = paused_job()
    with job.paused():
        (worker,) = job.flower("host", "site-1").parents()[:1]
        worker.kill()
        assert left_after(tmp_path, 5.0, "/sites/site-1/") == []
        status, output = job.outcome()
    assert status == "FAILED", output
    assert "site-1" in output
    assert left_after(tmp_path) == []

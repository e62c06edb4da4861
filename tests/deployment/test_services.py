"""Services at both ends of a job in a federation of processes, and what ends their streams."""

from __future__ import annotations

import json
import os
import signal

import pytest

from service_jobs import echo_script, with_services

pytestmark = pytest.mark.deployed

WAITS = """
    import flare_core.client as flare

    flare.init()
    while flare.is_running():
        flare.send(flare.receive())
"""

STREAMING = '''
import os
import threading

from flare_core import PartyError, Service


class Streaming(Service):
    """site-1 streams to site-2 without an end, until something ends that; both ends note what."""

    def start(self, context):
        self.context = context
        self.done = threading.Event()
        context.endpoint.handle_stream("endless", self.read)
        if context.party == "site-1":
            threading.Thread(target=self.write).start()

    def stop(self):
        self.done.wait(5)
        self.note("stopped")

    def read(self, stream):
        self.count(stream.read, "read from")

    def write(self):
        stream = self.context.endpoint.open_stream("site-2", "endless")
        self.count(lambda: stream.write(bytes(1 << 16)), "write to")

    def count(self, step, what):
        try:
            for number in range(1 << 40):
                step()
                if number == 100:
                    self.note(f"running {os.getpid()}")
        except PartyError as error:
            self.note(f"cannot {what} {error.party}: {error}")
            self.done.set()

    def note(self, text):
        with (self.context.folder / "notes.txt").open("a") as file:
            file.write(text + "\\n")
        self.context.warn(text)
'''

LYING = """
import threading

from flare_core import PartyError, Service


class Lying(Service):
    def start(self, context):
        endpoint = context.endpoint
        endpoint.handle("secret", lambda sender, data: sender)
        if context.party == "site-2":
            threading.Thread(target=self.lie, args=(context,)).start()

    def stop(self):
        pass

    def lie(self, context):
        endpoint = context.endpoint
        told = [endpoint.request("site-1", "secret"), endpoint.request("server", "secret")]
        endpoint.party = "site-3"
        for to in ("site-1", "server"):
            try:
                told.append(endpoint.request(to, "secret"))
            except PartyError as error:
                told.append(str(error))
        context.warn("; ".join(told))
"""


def test_scripts_reach_every_other_party_through_an_echo_proxy(hospital):
    place = hospital(2)
    job = place.job(echo_script("site-1", "site-2"), rounds=1)
    place.outcome(with_services(job, "echo_proxy", server="EchoProxy", client="EchoProxy"))
    (folder,) = (place.folder / "results").iterdir()
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert {(row["site"], row["value"]) for row in metrics} >= {("site-1", 2.0), ("site-2", 2.0)}


def test_a_site_that_speaks_for_another_is_refused(hospital):
    place = hospital(3)
    with place.admin() as admin:
        job = with_services(
            place.job(WAITS, min_clients=3, rounds=1 << 20), "lying", source=LYING, server="Lying", client="Lying"
        )
        job_id = admin.submit(job)["id"]
        warning = wait_for_warning(place, job_id, "site-2: site-2; site-2; ")
        admin.abort(job_id)
    place.wait(job_id)
    for party in ("site-1", "server"):
        assert f"{party}: site-2.{job_id}-1-1 spoke for site-3, which it does not serve" in warning


@pytest.mark.parametrize("end", ["the job is aborted", "a peer is killed"])
def test_both_ends_of_a_stream_learn_what_has_ended_it(hospital, end):
    place = hospital(2)
    job = with_services(place.job(WAITS, rounds=1 << 20), "streaming", source=STREAMING, client="Streaming")
    with place.admin() as admin:
        job_id = admin.submit(job)["id"]
        for site in ("site-1", "site-2"):
            pid = int(wait_for_warning(place, job_id, f"{site}: running").rpartition(" ")[2])
        if end == "a peer is killed":
            os.kill(pid, signal.SIGKILL)
            told = wait_for_warning(place, job_id, "site-1: cannot write to site-2")
            assert "site-2 is lost: " in told
        admin.abort(job_id)
    assert place.wait(job_id)["state"] == "aborted"
    if end == "the job is aborted":
        place.poc.stop()  # returns when the processes of the job are gone
        for site in ("site-1", "site-2"):
            notes = (place.kit(site) / "jobs" / job_id / "run" / "sites" / site / "notes.txt").read_text().splitlines()
            assert sorted(each.split()[0] for each in notes) == ["cannot", "running", "stopped"], notes


def wait_for_warning(place, job_id, beginning: str) -> str:
    """Wait until people are told something that begins so; return it."""
    with place.admin() as admin:
        for text in admin.read(job_id, "events.jsonl", follow=True):
            for line in text.splitlines():
                said = json.loads(line).get("message")
                if str(said).startswith(beginning):
                    return said
    raise AssertionError(f"nobody said {beginning!r}")

"""A gateway's process is killed again and again: each result that a device was told of is in exactly one batch.

Its process runs as a user without rights, with a folder of that user's.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from gateway_host import SCALE, as_json

from flare_edge.device.client import Client
from flare_edge.errors import EdgeError
from flare_edge.gateway.gateway import Gateway
from flare_edge.gateway.settings import GatewaySettings

KILLS = 60 if os.environ.get("FLARE_SLOW_TESTS") else 3
DEVICES = 8
USER = 65534


@pytest.mark.timeout(60 + 10 * KILLS)
@pytest.mark.skipif(os.geteuid() == 0 and shutil.which("setpriv") is None, reason="never as root")
def test_each_accepted_result_is_in_one_batch_whenever_the_gateway_is_killed():
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")  # noqa: T201
    delays = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if os.geteuid() == 0:
            os.chown(folder, USER, USER)
        with socket.create_server(("127.0.0.1", 0)) as unused:
            port = unused.getsockname()[1]
        host, link = start(folder, port, life=1)
        try:
            killer = Killer()
            devices = [Reporting(link, number, killer) for number in range(DEVICES)]
            for life in range(2, KILLS + 2):
                killer.aim(host, delays.randint(1, 40))
                assert killer.has_killed.wait(60)
                host.communicate()
                host, _ = start(folder, port, life)
            accepted: set[int] = set()
            for device in devices:
                accepted |= device.stop()
            host.stdin.close()
            assert host.wait(30) == 0
        finally:
            host.kill()
            host.wait()
            host.stdout.close()
        check(batches_in(folder), accepted)
    assert len(accepted) >= KILLS


def start(folder, port, life):
    user = [] if os.geteuid() else ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
    script = Path(__file__).with_name("gateway_host.py")
    command = [*user, sys.executable, script, folder, str(port), str(life)]
    environment = {**os.environ, "HOME": str(folder), "TMPDIR": str(folder)}
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder, env=environment
    )
    link = process.stdout.readline().strip()
    assert link, process.wait()
    return process, link


class Killer:
    """Kills a process at the moment in which a device hears of the acceptance of a result."""

    def __init__(self):
        self.has_killed = threading.Event()
        self._lock = threading.Lock()
        self._left = 0

    def aim(self, process, results):
        """Let so many results be accepted before the process dies."""
        with self._lock:
            self.has_killed.clear()
            self._process, self._left = process, results

    def accepted(self):
        with self._lock:
            self._left -= 1
            if self._left == 0:
                self._process.kill()
                self.has_killed.set()


class Reporting(threading.Thread):
    """A device that works as fast as it can, and remembers which results were accepted."""

    def __init__(self, link, number, killer):
        super().__init__()
        self.stopped = threading.Event()
        self._client = Client.join(link, name=f"device{number}", patience_s=600)
        self._accepted: set[int] = set()
        self._killer = killer
        self.start()

    def run(self):
        try:
            while not self.stopped.is_set():
                task = self._client.next_task(wait_s=0.2)
                if task is not None:
                    update, weight = update_of(task.ticket)
                    if self._client.send_update(task.ticket, update, num_examples=weight):
                        self._accepted.add(task.ticket)
                        self._killer.accepted()
        except EdgeError:
            if not self.stopped.is_set():
                raise
        finally:
            self.stopped.set()

    def stop(self):
        assert not self.stopped.is_set(), "the device had an error"
        self.stopped.set()
        self.join()
        self._client.close()
        return self._accepted


def update_of(ticket):
    return {"w": np.array([ticket % 1000, 1.0])}, 1 + ticket % 7


def batches_in(folder):
    """Return the batches that the parent got, by number, and those that it would get next."""
    batches: dict[int, dict] = {}
    for line in (folder / "batches.jsonl").read_text().splitlines(keepends=True):
        if line.endswith("\n"):  # the last line of a life may be cut
            batch = json.loads(line)
            assert batches.setdefault(batch["number"], batch) == batch
    last = Gateway("gw-1", folder, GatewaySettings(), SCALE, {})
    for number, batch in last.unacknowledged():
        assert batches.setdefault(number, as_json(number, batch)) == as_json(number, batch)
    if {order.ticket for order in last.answered()} - tickets(batches):
        report = last.next_report()
        batches[report.number] = as_json(report.number, report.batch)
    last.close()
    return batches


def tickets(batches):
    return {ticket for batch in batches.values() for ticket in batch["done"]}


def check(batches, accepted):
    """Check that batches hold each accepted ticket once, and the sums of their tickets."""
    assert sorted(batches) == list(range(1, len(batches) + 1))
    done = [ticket for batch in batches.values() for ticket in batch["done"]]
    assert len(done) == len(set(done))
    assert accepted <= set(done)
    for batch in batches.values():
        updates = [update_of(ticket) for ticket in batch["done"]]
        total = sum((SCALE.encode(update, weight)["w"] for update, weight in updates), np.zeros(2, np.int64))
        if updates:
            expected = {"0": [sum(weight for _, weight in updates), len(updates), total.tolist()]}
            assert batch["sums"] == expected

"""Devices train while gateways, inner nodes, a relay and the server are killed: each accepted update counts once."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest

from edge_devices import MarkedDevices, link_of
from flare_edge import DeviceManagerConfig, EdgeFedBuffRecipe, ModelManagerConfig
from flare_tensor_downloader import read_file

sys.path.insert(0, str(Path(__file__).parent / "deployment"))
from test_relays import WARDS, add_wards, free_port, kill_relay

pytestmark = [pytest.mark.slow, pytest.mark.deployed]

KILLS = 60 if os.environ.get("FLARE_SLOW_TESTS") else 5
SIZE = 1 << 15
VICTIMS = ("gateway", "inner node", "relay", "server job", "gateway's client", "server")
INNER, GATEWAYS = "site-1", ["site-2", *WARDS]


def recipe() -> EdgeFedBuffRecipe:
    """Two gateways behind a relay report to an inner node, one reports to the server."""
    return EdgeFedBuffRecipe(
        job_name="marked",
        model={"w": np.zeros(SIZE, np.float64)},
        tree={INNER: WARDS},
        min_clients=1,
        model_manager_config=ModelManagerConfig(
            max_num_active_model_versions=None,
            max_model_history=None,
            max_model_version=1_000_000,
            num_updates_for_model=6,
            update_timeout=0.2,
        ),
        device_manager_config=DeviceManagerConfig(device_selection_size=9),
        reconnect_grace_s=60.0,
    )


class Federation:
    """A federation with a relay in which the job runs, and its processes."""

    def __init__(self, place, devices: MarkedDevices) -> None:
        self.place = place
        add_wards(place, True)
        for site in GATEWAYS:
            settings = {"listen": f"127.0.0.1:{free_port()}", "plain_http": True, "invitations": "open"}
            local = place.kit(site) / "local"
            local.mkdir(exist_ok=True)
            (local / "edge.json").write_text(json.dumps(settings))
        with place.admin() as admin:
            self.job = admin.submit(recipe().job())["id"]
        place.wait_for_events(self.job, {"event": "RoundStarted", "round": 0})
        for site in GATEWAYS:
            for number in range(4):
                devices.join(link_of(self.site_folder(site)), f"device-{number}")

    def site_folder(self, site: str) -> Path:
        return self.place.kit(site) / "jobs" / self.job / "run" / "sites" / site

    @property
    def server_folder(self) -> Path:
        return self.place.kit("server") / "jobs" / self.job / "run"

    def job_process(self, name: str, timeout_s: float = 240.0) -> int:
        """Return the process of the job at a site or the server, as soon as it is there."""
        until = time.monotonic() + timeout_s
        while True:
            found = []
            with suppress(psutil.NoSuchProcess):  # one that was ending
                children = psutil.Process(self.place.poc.status()[name]).children()
                found = [each.pid for each in children if "job_process" in " ".join(each.cmdline())]
            if len(found) == 1:
                return found[0]
            assert time.monotonic() < until, (name, found)
            threading.Event().wait(0.1)

    def strike(self, victim: str, draw: random.Random) -> None:
        match victim:
            case "gateway":
                os.kill(self.job_process(draw.choice(GATEWAYS)), signal.SIGKILL)
            case "inner node":
                os.kill(self.job_process(INNER), signal.SIGKILL)
            case "relay":
                kill_relay(self.place)
            case "gateway's client":
                self.place.kill("site-2")
            case "server job":
                os.kill(self.job_process("server"), signal.SIGKILL)
            case _:
                self.place.kill("server")

    def model(self) -> np.ndarray:
        """Return the newest model, which is replaced as a whole."""
        return np.array(read_file(self.server_folder / "server" / "global_model.safetensors")["w"])

    def await_all(self, places: list[int]) -> None:
        """Wait until updates are in the model, round by round."""
        with self.place.admin() as admin:
            for text in admin.read(self.job, "events.jsonl", follow=True):
                if "RoundEnded" in text and self.model()[places].all():
                    return
        raise AssertionError("the run has ended")


@pytest.mark.timeout(300 + 30 * KILLS)
def test_each_accepted_update_counts_once_whatever_is_killed(hospital):
    draw = random.Random(7)
    devices = MarkedDevices(SIZE)
    federation = Federation(hospital(2), devices)
    devices.wait_for(20)
    for number in range(KILLS):
        victim = VICTIMS[number % 5] if KILLS < 10 else draw.choice(VICTIMS)
        federation.strike(victim, draw)
        devices.wait_for(draw.randint(10, 40))
    accepted = devices.stop_marking()
    with federation.place.admin() as admin:
        federation.await_all(accepted)
        admin.abort(federation.job)
        admin.wait(federation.job, timeout_s=60)
    devices.wait_told()
    model = federation.model()
    counted = set(np.flatnonzero(model).tolist())
    assert counted >= set(accepted)  # none is lost; one accepted later may have come after the last version
    assert counted <= devices.sent - devices.refused  # nothing else, and none that was refused
    rows = [json.loads(line) for line in (federation.server_folder / "metrics.jsonl").read_text().splitlines()]
    counts = {row["round"]: int(row["value"]) for row in rows if row["key"] == "updates"}
    shares = Counter(model[model != 0].tolist())
    assert set(shares) <= {1 / count for count in counts.values()}  # none twice: each has its share of one version
    for share, number in shares.items():
        assert number <= sum(count for count in counts.values() if 1 / count == share)

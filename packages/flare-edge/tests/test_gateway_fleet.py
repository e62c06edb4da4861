"""Simulated devices that connect to a gateway, over TLS."""

from __future__ import annotations

import threading

import numpy as np
from gateways import serving

from flare_edge.fedbuff import DeviceManagerConfig, FedBuffSettings, ModelManagerConfig
from flare_edge.fleet.__main__ import main
from flare_edge.fleet.local_run import LocalRun
from flare_edge.fleet.running import run_devices
from flare_edge.gateway.settings import GatewaySettings, Limits
from flare_edge.virtual.fleet import Battery, FleetModel, Presence
from flare_edge.virtual.traces import read_trace

LIMITS = Limits(registrations_per_s=1e6, requests_per_s=1e6)
MODEL = {"w": np.zeros((4, 3), np.float32), "b": np.zeros(3)}


def run_fleet(folder, devices, *, versions, at_once=10, updates=5, **more):
    """Run a fleet until the last version is made; return what the devices, the server and the gateway counted."""
    models = ModelManagerConfig(max_model_version=versions, num_updates_for_model=updates)
    settings = FedBuffSettings(models, DeviceManagerConfig(device_selection_size=at_once))
    timing = {"update_timeout_s": 0.05, "answer_within_s": 0.5, "model": MODEL}
    with serving(folder, GatewaySettings(limits=LIMITS), **timing) as gateway:
        run = LocalRun(gateway, settings, MODEL)
        run.start()
        counted = run_devices(gateway.join_link, devices, wait_s=0.5, **more)
        run.join()
        return counted, run, gateway.counts


def test_devices_work_until_the_run_is_over(tmp_path):
    fleet = FleetModel(num_devices=30, median_train_s=5.0, seed=1)
    devices, run, gateway = run_fleet(tmp_path, fleet.devices(), versions=4, speed=100.0)
    assert devices["errors"] == {}
    assert run.counts["versions"] == 4
    assert devices["counts"]["connections"] == gateway["registrations"] == 30
    assert devices["counts"]["results"] == gateway["results"] >= 20
    assert np.abs(run.params["w"]).max() > 0


def test_devices_come_and_go_fail_and_vanish_without_an_error(tmp_path):
    fleet = FleetModel(
        num_devices=30,
        median_train_s=10.0,
        median_bytes_per_s=10_000.0,
        failure_rate=0.1,
        loss_rate=0.1,
        battery=Battery(train_s=100.0, charge_s=100.0),
        presence=Presence(online_s=60.0, offline_s=20.0),
        seed=2,
    )
    devices, run, gateway = run_fleet(tmp_path, fleet.devices(), versions=8, speed=200.0)
    counts = devices["counts"]
    assert devices["errors"] == {}
    assert run.counts["versions"] == 8
    assert counts["vanished"] > 0
    assert counts["failures"] > 0
    assert counts["lost"] > 0
    assert gateway["results"] + gateway["failed"] >= counts["results"]  # some vanished before they were told


def test_a_trace_says_when_devices_are_there(tmp_path):
    trace = tmp_path / "trace.csv"
    trace.write_text("device,start_s,end_s,train_s\na,0,1000,1\nb,0,1000,1\nc,5000,6000,1\n")
    devices, run, _ = run_fleet(tmp_path, read_trace(trace), versions=3, at_once=2, updates=2, speed=20.0)
    assert devices["counts"]["connections"] == 2  # c would have come later
    assert run.counts["versions"] == 3


def test_a_fleet_can_be_run_by_a_command(tmp_path, capsys):
    with serving(tmp_path, GatewaySettings(limits=LIMITS)) as gateway:
        threading.Timer(0.5, gateway.finish).start()
        options = ["--devices=5", "--count=3", "--first=1", "--arrival-s=0", "--wait-s=5"]
        assert main(["run", gateway.join_link, *options]) == 0
        assert sorted(gateway.devices()) == ["gw-1/1", "gw-1/2", "gw-1/3"]
    assert '"errors": {}' in capsys.readouterr().out


def test_a_measurement_prints_what_it_found(capsys):
    options = ["--devices=20", "--warm-up=1", "--seconds=1", "--wait-s=0.2", "--working=5", "--arrival-s=0.5"]
    assert main(["bench", *options]) == 0
    out = capsys.readouterr().out
    assert '"check-ins/s"' in out
    assert '"devices present at the end": 20' in out or '"devices present at the end": 19' in out

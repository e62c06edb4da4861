"""``python -m flare_edge.fleet``: simulated devices for a gateway, or a measurement with a gateway of its own."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from flare_edge.fleet.running import run_devices
from flare_edge.virtual.fleet import Battery, Device, FleetModel, Presence
from flare_edge.virtual.traces import read_trace


def main(arguments: Sequence[str]) -> int:
    """Run a command; return 1 if a device met an error."""
    parser = argparse.ArgumentParser(prog="python -m flare_edge.fleet", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="simulated devices join a gateway, until its run is over")
    run.add_argument("link", help="the gateway's join link, with an invitation for all of them")
    run.add_argument("--first", type=int, default=0, help="leave out the devices before this one")
    run.add_argument("--count", type=int, help="run so many of the devices; a fleet can have several processes")
    run.add_argument("--seconds", type=float, help="end after so many; else when the run is over")
    bench = commands.add_parser("bench", help="measure check-ins of a gateway on this machine")
    bench.add_argument("--processes", type=int, default=1, help="of devices")
    bench.add_argument("--warm-up", type=float, default=90.0, metavar="S", help="before the measurement")
    bench.add_argument("--seconds", type=float, default=60.0, help="of the measurement")
    bench.add_argument("--working", type=int, default=500, help="devices that have a task at the same time")
    bench.add_argument("--parameters", type=int, default=1000, help="of the model")
    _add_fleet(run, train_s=60.0, wait_s=20.0)
    _add_fleet(bench, train_s=1.0, wait_s=8.0)
    chosen = parser.parse_args(arguments)
    if chosen.command == "bench":
        from flare_edge.fleet.bench import bench as measure

        return measure(chosen, fleet_arguments(chosen))
    devices = _devices(chosen)[chosen.first :][: chosen.count]
    counted = run_devices(
        chosen.link,
        devices,
        first=chosen.first,
        wait_s=chosen.wait_s,
        speed=chosen.speed,
        arrival_s=chosen.arrival_s,
        seconds=chosen.seconds,
        when_counted=lambda counts: print(json.dumps(counts), flush=True),  # noqa: T201
    )
    return 1 if counted["errors"] else 0


_OPTIONS = {
    "devices": (int, 1000, "number of devices"),
    "seed": (int, 0, "the same seed gives the same fleet"),
    "sigma": (float, 1.0, "spread of the log-normal speeds"),
    "bytes_per_s": (float, float("inf"), "median bandwidth"),
    "online_s": (float, 600.0, "mean seconds of a session, which ends in the middle of anything"),
    "offline_s": (float, 60.0, "mean seconds between sessions; 0: devices are always there"),
    "failures": (float, 0.0, "share of tasks that fail"),
    "losses": (float, 0.0, "share of tasks in which the device vanishes"),
    "battery_s": (float, 0.0, "seconds of training on a full battery; 0: it is always charged"),
    "charge_s": (float, 7200.0, "seconds to charge an empty battery"),
    "speed": (float, 1.0, "how many seconds of the devices pass in a second"),
    "arrival_s": (float, 10.0, "devices come one after the other within so many seconds, not all at once"),
}


def _add_fleet(parser: argparse.ArgumentParser, **defaults: float) -> None:
    for name, (kind, default, text) in _OPTIONS.items():
        parser.add_argument(_option(name), type=kind, default=default, help=text)
    parser.add_argument("--train-s", type=float, default=defaults["train_s"], help="median seconds of a task")
    parser.add_argument("--wait-s", type=float, default=defaults["wait_s"], help="how long polls wait for a task")
    parser.add_argument("--trace", type=Path, help="a CSV file with the devices' sessions, instead of a seeded fleet")


def fleet_arguments(chosen: argparse.Namespace) -> list[str]:
    """Return the arguments from which ``run`` makes the same fleet."""
    names = [*_OPTIONS, "train_s", "wait_s", *(["trace"] if chosen.trace else [])]
    return [f"{_option(name)}={getattr(chosen, name)}" for name in names]


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _devices(chosen: argparse.Namespace) -> list[Device]:
    if chosen.trace is not None:
        return read_trace(chosen.trace, seed=chosen.seed)
    fleet = FleetModel(
        num_devices=chosen.devices,
        seed=chosen.seed,
        median_train_s=chosen.train_s,
        speed_sigma=chosen.sigma,
        median_bytes_per_s=chosen.bytes_per_s,
        failure_rate=chosen.failures,
        loss_rate=chosen.losses,
        battery=Battery(chosen.battery_s, chosen.charge_s) if chosen.battery_s else None,
        presence=Presence(chosen.online_s, chosen.offline_s),
    )
    return fleet.devices()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

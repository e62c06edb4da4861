"""``python -m flare_edge.fleet``: simulated devices for a gateway, or a measurement with a gateway of its own."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import fields

from flare_edge.fleet.behaviour import Behaviour


def main(arguments: list[str]) -> int:
    """Run a command."""
    parser = argparse.ArgumentParser(prog="python -m flare_edge.fleet", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="simulated devices join a gateway, until its run is over")
    run.add_argument("link", help="the gateway's join link, with an invitation for all of them")
    bench = commands.add_parser("bench", help="measure check-ins of a gateway on this machine")
    bench.add_argument("--processes", type=int, default=1, help="of devices")
    bench.add_argument("--warm-up", type=float, default=60.0, metavar="S", help="before the measurement")
    bench.add_argument("--working", type=int, default=500, help="devices that have a task at the same time")
    bench.add_argument("--parameters", type=int, default=1000, help="of the model")
    for command in (run, bench):
        command.add_argument("--devices", type=int, default=1000)
        command.add_argument("--first", type=int, default=0, help="number of the first device")
        command.add_argument("--seconds", type=float, default=None if command is run else 60.0)
        for field in fields(Behaviour):
            name = "--" + field.name.replace("_", "-")
            command.add_argument(name, type=type(field.default), default=field.default)
    chosen = parser.parse_args(arguments)
    behaviour = Behaviour(**{field.name: getattr(chosen, field.name) for field in fields(Behaviour)})
    if chosen.command == "bench":
        from flare_edge.fleet.bench import bench as measure

        return measure(chosen, behaviour)

    from flare_edge.fleet.running import run_devices

    def show(counts: object) -> None:
        print(json.dumps(counts), flush=True)  # noqa: T201

    numbers = range(chosen.first, chosen.first + chosen.devices)
    counted = run_devices(chosen.link, numbers, behaviour, seconds=chosen.seconds, when_counted=show)
    return 1 if counted["errors"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

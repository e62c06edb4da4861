"""Measuring a gateway: devices in processes of their own, and a run that gives them orders, over TLS on one machine."""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from flare_edge.fedbuff import DeviceManagerConfig, FedBuffSettings, ModelManagerConfig
from flare_edge.fleet.local_run import LocalRun
from flare_edge.fleet.running import peak_mib
from flare_edge.gateway.gateway import Gateway
from flare_edge.gateway.settings import GatewaySettings, Limits


def bench(chosen: argparse.Namespace, fleet: list[str]) -> int:
    """Measure, and print what was found as JSON; return 1 if a device met an error.

    Args:
        chosen: the command line.
        fleet: arguments of ``run`` for the fleet.
    """
    logging.basicConfig(level=logging.WARNING)
    many = 10.0 * chosen.devices
    limits = Limits(
        connections=chosen.devices + 1000,
        connections_per_address=chosen.devices + 1000,
        registrations_per_s=many,
        refusals_per_s=many,
    )
    models = ModelManagerConfig(max_model_version=10**6, num_updates_for_model=max(1, chosen.working // 2))
    settings = FedBuffSettings(models, DeviceManagerConfig(device_selection_size=chosen.working))
    with tempfile.TemporaryDirectory() as folder:
        gateway = Gateway(
            "bench",
            Path(folder),
            GatewaySettings(limits=limits),
            models.scale,
            {},
            update_timeout_s=1.0,
            answer_within_s=60.0,
        )
        run = LocalRun(gateway, settings, {"w": np.zeros(chosen.parameters, np.float32)})
        gateway.start()
        run.start()
        try:
            found = _measured(chosen, fleet, gateway, run)
        finally:
            gateway.close()
            run.join()
    print(json.dumps(found, indent=1))  # noqa: T201
    return 1 if found["errors"] else 0


def _measured(chosen: argparse.Namespace, fleet: list[str], gateway: Gateway, run: LocalRun) -> dict[str, Any]:
    shares = np.array_split(np.arange(chosen.devices), chosen.processes)
    fleets = [_Fleet(gateway.join_link, int(each[0]), len(each), fleet) for each in shares]
    for each in fleets:
        each.started.wait()
    time.sleep(chosen.warm_up)
    before, results_before, start, used_before = (
        gateway.counts.copy(),
        run.counts.copy(),
        time.monotonic(),
        _cpu_s(fleets),
    )
    time.sleep(chosen.seconds)
    after, results_after, end, used_after = gateway.counts.copy(), run.counts.copy(), time.monotonic(), _cpu_s(fleets)
    devices = len(gateway.devices())
    counted = [fleet.stop() for fleet in fleets]
    seconds = end - start
    memory = [peak_mib(), *(each["peak_mib"] for each in counted)]
    return {
        "devices": chosen.devices,
        "devices present at the end": devices,
        "seconds": round(seconds, 1),
        "check-ins/s": round((after["check_ins"] - before["check_ins"]) / seconds, 1),
        "results/s": round((after["results"] - before["results"]) / seconds, 1),
        "versions": results_after["versions"] - results_before["versions"],
        "peak memory of all processes, MiB": round(sum(memory), 1),
        "of gateway and fleets": memory,
        "processor, of all cores": round(sum(used_after) - sum(used_before), 1) / seconds,
        "processor of gateway": round((used_after[0] - used_before[0]) / seconds, 2),
        "slowest answer, s": max(each["slowest_s"] for each in counted),
        "counts of devices": dict(sum((Counter(each["counts"]) for each in counted), Counter())),
        "counts of the gateway": dict(gateway.counts),
        "errors": dict(sum((Counter(each["errors"]) for each in counted), Counter())),
        "fleet": fleet,
        "load average": os.getloadavg(),
    }


class _Fleet:
    """A process of devices, whose last line says what they have done."""

    def __init__(self, link: str, first: int, count: int, fleet: list[str]) -> None:
        command = [sys.executable, "-m", "flare_edge.fleet", "run", link, f"--first={first}", f"--count={count}"]
        self._process = subprocess.Popen([*command, *fleet], stdout=subprocess.PIPE, text=True)
        self.started = threading.Event()
        self._last: dict[str, Any] = {}
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def stop(self) -> dict[str, Any]:
        """End the process, and return what its devices have done."""
        self._process.terminate()
        self._process.wait()
        self._reader.join()
        if self._process.stdout is not None:
            self._process.stdout.close()
        return self._last

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._last = json.loads(line)
            self.started.set()
        self.started.set()


def _cpu_s(fleets: list[_Fleet]) -> list[float]:
    """Return the processor time of this process and the fleets', in seconds; empty where /proc does not exist."""
    ticks = os.sysconf("SC_CLK_TCK")
    found = []
    for pid in (os.getpid(), *(fleet.pid for fleet in fleets)):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        found.append((int(fields[11]) + int(fields[12])) / ticks)
    return found

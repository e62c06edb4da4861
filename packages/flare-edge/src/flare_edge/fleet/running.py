"""Running the devices of one process."""

from __future__ import annotations

import asyncio
import resource
import sys
from collections.abc import Callable, Sequence
from typing import Any

from flare_edge.device.connection import Link
from flare_edge.event_loop import new_event_loop
from flare_edge.fleet.clock import Clock
from flare_edge.fleet.device import SimulatedDevice, Tally
from flare_edge.fleet.http import Place
from flare_edge.virtual.fleet import Device
from flare_edge.virtual.phones import Phone


def run_devices(
    link: str,
    devices: Sequence[Device],
    *,
    first: int = 0,
    wait_s: float = 20.0,
    speed: float = 1.0,
    arrival_s: float = 0.0,
    seconds: float | None = None,
    every_s: float = 1.0,
    when_counted: Callable[[dict[str, Any]], None] = lambda counts: None,
) -> dict[str, Any]:
    """Run devices until the run is over, or for some seconds; return what they did.

    Args:
        link: the gateway's join link, whose invitation is for that many devices.
        devices: of a fleet; the part of their names after ``/`` is that with which they register.
        first: number of the first one in the fleet.
        wait_s: how long polls wait for a task.
        speed: how many seconds of the devices' sessions and work pass in a second.
        arrival_s: devices come one after the other within so many seconds of the machine, not all at once.
        seconds: None: until the run is over.
        every_s: how often ``when_counted`` is called with what they have done so far.
    """
    to = Link.read(link)
    tally = Tally()

    async def run() -> None:
        place, clock = Place.at(to.url, to.sha256), Clock(speed)
        running = [
            SimulatedDevice(Phone(first + number, device), place, to.invitation, wait_s, clock, tally)
            for number, device in enumerate(devices)
        ]
        gap_s = arrival_s / max(1, len(running))
        tasks = [asyncio.create_task(device.live(after_s=gap_s * number)) for number, device in enumerate(running)]
        loop = asyncio.get_running_loop()
        deadline = None if seconds is None else loop.time() + seconds
        try:
            pending: set[asyncio.Task[None]] = set(tasks)
            while pending and not tally.is_over:
                left = every_s if deadline is None else min(every_s, deadline - loop.time())
                if left <= 0:
                    break
                _, pending = await asyncio.wait(pending, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                when_counted(_counted(tally))
        finally:
            for task in tasks:
                task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(run())
    return _counted(tally)


def _counted(tally: Tally) -> dict[str, Any]:
    return {
        "counts": dict(tally.counts),
        "errors": dict(tally.errors),
        "slowest_s": round(tally.slowest_s, 3),
        "peak_mib": peak_mib(),
    }


def peak_mib() -> float:
    """Return the most memory that this process has had, in MiB."""
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)

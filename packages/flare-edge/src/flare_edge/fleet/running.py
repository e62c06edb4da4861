"""Running the devices of one process."""

from __future__ import annotations

import asyncio
import resource
import sys
from collections.abc import Callable
from typing import Any

from flare_edge.device.connection import Link
from flare_edge.fleet.behaviour import Behaviour
from flare_edge.fleet.device import Device, Tally
from flare_edge.fleet.http import Place


def run_devices(
    link: str,
    numbers: range,
    behaviour: Behaviour,
    *,
    seconds: float | None = None,
    every_s: float = 1.0,
    when_counted: Callable[[dict[str, Any]], None] = lambda counts: None,
) -> dict[str, Any]:
    """Run devices until the run is over, or for some seconds; return what they did.

    Args:
        link: the gateway's join link, whose invitation is for that many devices.
        numbers: of the devices, which decide their names and characters.
        behaviour: of all devices.
        seconds: None: until the run is over.
        every_s: how often ``when_counted`` is called with what they have done so far.
    """
    place = Link.read(link)
    tally = Tally()

    async def run() -> None:
        where = Place.at(place.url, place.sha256)
        devices = [Device(number, where, place.invitation, behaviour, tally) for number in numbers]
        lives = asyncio.gather(*(device.live() for device in devices))
        loop = asyncio.get_running_loop()
        deadline = None if seconds is None else loop.time() + seconds
        while not lives.done() and (deadline is None or loop.time() < deadline):
            await asyncio.wait([lives], timeout=every_s)
            when_counted(_counted(tally))
        lives.cancel()
        await asyncio.gather(lives, return_exceptions=True)
        if lives.done() and not lives.cancelled() and (error := lives.exception()):
            raise error

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
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


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    import uvloop

    return uvloop.new_event_loop

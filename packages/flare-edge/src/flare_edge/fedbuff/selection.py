"""The devices of a run: which are there, which work, and which is chosen next."""

from __future__ import annotations

import hashlib
import logging
from bisect import bisect_left, insort
from collections.abc import Iterable
from typing import Any

logger = logging.getLogger("flare_edge")

MAX_FAILURES = 3
"""A device that has failed so often in succession is not chosen before it has joined again."""


class Devices:
    """The devices that have joined.

    The choice depends on the seed, the number of choices so far, and the set of devices that can be chosen; not on the
    order in which they have joined, nor on where they are in the tree.

    Args:
        seed: of the choices.
        reuse: a device may be chosen again after it has worked.
    """

    def __init__(self, seed: int, *, reuse: bool) -> None:
        self._seed = seed
        self._reuse = reuse
        self._gateways: dict[str, str] = {}  # of the devices that have joined
        self._free: list[str] = []  # can be chosen; sorted
        self._working: set[str] = set()
        self._used: set[str] = set()  # empty if devices may be chosen again
        self._failures: dict[str, int] = {}  # in succession
        self._choices = 0

    def __len__(self) -> int:
        """Return the number of devices that have joined."""
        return len(self._gateways)

    @property
    def free(self) -> int:
        """The number of devices that can be chosen."""
        return len(self._free)

    def of(self, gateway: str) -> list[str]:
        """Return the devices of a gateway that have joined."""
        return sorted(device for device, each in self._gateways.items() if each == gateway)

    def gateway(self, device: str) -> str | None:
        """Return the gateway of a device, None if it has not joined."""
        return self._gateways.get(device)

    def join(self, gateway: str, devices: Iterable[str]) -> None:
        """Add devices; those that are there already stay as they are."""
        new = [device for device in dict.fromkeys(devices) if device not in self._gateways]
        for device in new:
            self._gateways[device] = gateway
            self._failures.pop(device, None)
        able = [device for device in new if self._is_able(device)]
        if len(able) > 64:
            self._free = sorted([*self._free, *able])
        else:
            for device in able:
                insort(self._free, device)

    def leave(self, device: str) -> None:
        """Remove a device, which need not be there."""
        if self._gateways.pop(device, None) is not None:
            self._take(device)

    def choose(self) -> str | None:
        """Choose a device and let it work; None if there is none to choose."""
        if not self._free:
            return None
        text = f"{self._seed}/{self._choices}".encode()
        number = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
        self._choices += 1
        device = self._free.pop(number % len(self._free))
        self._mark(device)
        return device

    def start(self, device: str) -> None:
        """Let a certain device work."""
        self._take(device)
        self._mark(device)

    def finish(self, device: str, *, failed: bool = False) -> None:
        """Let a device that works be chosen again, if it may."""
        self._working.discard(device)
        if failed:
            self._failures[device] = failures = self._failures.get(device, 0) + 1
            if failures == MAX_FAILURES:
                logger.warning("device %s has failed %d times in succession, and rests", device, failures)
        else:
            self._failures.pop(device, None)
        self.stop(device)

    def stop(self, device: str) -> None:
        """Let a device be chosen again whose order was withdrawn."""
        self._working.discard(device)
        at = bisect_left(self._free, device)
        if device in self._gateways and self._is_able(device) and self._free[at : at + 1] != [device]:
            self._free.insert(at, device)

    def state(self) -> dict[str, Any]:
        """Return the state as JSON values."""
        return {
            "gateways": dict(self._gateways),
            "working": sorted(self._working),
            "used": sorted(self._used),
            "failures": dict(self._failures),
            "choices": self._choices,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a state that :meth:`state` returned."""
        self._gateways = dict(state["gateways"])
        self._working = set(state["working"])
        self._used = set(state["used"])
        self._failures = dict(state["failures"])
        self._choices = int(state["choices"])
        self._free = sorted(device for device in self._gateways if self._is_able(device))

    def _is_able(self, device: str) -> bool:
        return not (device in self._working or device in self._used) and self._failures.get(device, 0) < MAX_FAILURES

    def _mark(self, device: str) -> None:
        self._working.add(device)
        if not self._reuse:
            self._used.add(device)

    def _take(self, device: str) -> None:
        at = bisect_left(self._free, device)
        if self._free[at : at + 1] == [device]:
            del self._free[at]

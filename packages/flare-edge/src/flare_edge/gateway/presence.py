"""Devices that are there, and what the parent does not know of that yet; not thread-safe."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator

Wake = Callable[[], None]


class PresentDevices:
    """Devices are there from their first contact until they leave, or are silent for too long.

    Args:
        timeout_s: a device that neither waits nor works has left after so many seconds without a contact.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._seen: OrderedDict[str, float] = OrderedDict()  # in the order of their last contact
        self._expected: OrderedDict[str, float] = OrderedDict()  # the parent believes them to be here
        self._waiting: dict[str, Wake] = {}
        self._joined: dict[str, None] = {}
        self._left: dict[str, None] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._seen)

    @property
    def has_news(self) -> bool:
        """True if devices came or left since :meth:`take_news`."""
        return bool(self._joined or self._left)

    @property
    def deadline(self) -> float | None:
        """When the next device will have been silent for too long; None without devices."""
        first = [next(iter(each.values())) for each in (self._seen, self._expected) if each]
        return min(first) + self._timeout_s if first else None

    def take_news(self) -> tuple[list[str], list[str]]:
        """Return the devices that came and those that left, and forget both."""
        joined, left = list(self._joined), list(self._left)
        self._joined, self._left = {}, {}
        return joined, left

    def touch(self, device: str, now: float) -> bool:
        """Note a contact; return whether the device has come with it."""
        self._expected.pop(device, None)
        is_new = device not in self._seen
        if is_new:
            if device in self._left:  # the parent has not heard of that
                del self._left[device]
            else:
                self._joined[device] = None
        self._seen[device] = now
        self._seen.move_to_end(device)
        return is_new

    def expect(self, devices: Iterable[str], now: float) -> None:
        """Take devices for present until they are silent for too long, as the parent does."""
        for device in devices:
            if device not in self._seen:
                self._expected[device] = now
                self._expected.move_to_end(device)

    def remove(self, device: str) -> None:
        """Note that a device has left."""
        if self._expected.pop(device, None) is not None:
            self._left[device] = None
        if self._seen.pop(device, None) is not None:
            if device in self._joined:
                del self._joined[device]
            else:
                self._left[device] = None

    def remove_silent(self, now: float, is_working: Callable[[str], bool]) -> list[str]:
        """Remove devices that neither wait nor work and were silent for too long.

        Returns:
            Expected devices that did not come, which may have open orders.
        """
        missing = []
        while self._expected and now >= next(iter(self._expected.values())) + self._timeout_s:
            device, _ = self._expected.popitem(last=False)
            self._left[device] = None
            missing.append(device)
        for _ in range(len(self._seen)):
            device, last = next(iter(self._seen.items()))
            if now < last + self._timeout_s:
                break
            if device in self._waiting or is_working(device):
                self._seen[device] = now
                self._seen.move_to_end(device)
            else:
                self.remove(device)
        return missing

    def is_waiting(self, device: str) -> bool:
        """Return whether a poll of a device is held."""
        return device in self._waiting

    def wait(self, device: str, wake: Wake | None) -> Wake | None:
        """Hold a poll of a device; return what wakes its earlier one."""
        former = self._waiting.pop(device, None)
        if wake is not None:
            self._waiting[device] = wake
        return former

    def stop_waiting(self, device: str, wake: Wake) -> None:
        """Forget a poll, unless a later one is held."""
        if self._waiting.get(device) is wake:
            del self._waiting[device]

    def take_waiting(self) -> list[Wake]:
        """Return what wakes the held polls, and forget them."""
        woken = list(self._waiting.values())
        self._waiting.clear()
        return woken

"""Devices that speak to gateways over HTTP, and whose updates tell which of them were counted."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np

from flare_edge.device.client import Client, RunOver


class MarkedDevices:
    """Devices, each on a thread, that set one place of the model to 1 in each update, another place each time.

    Attributes:
        accepted: the places of updates that a gateway has confirmed.
        refused: those of updates that a gateway did not want any more.
        problems: what has gone wrong at devices.
        told: the number of devices that were told that the run is over.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.accepted: set[int] = set()
        self.refused: set[int] = set()
        self.problems: list[BaseException] = []
        self.told = 0
        self._places: dict[int, int] = {}  # by ticket
        self._marks = True
        self._changed = threading.Condition()

    def join(self, link: str, name: str) -> None:
        """Let a device join by a link, and work until the run is over."""
        threading.Thread(target=self._run, args=(link, name), name=name, daemon=True).start()

    def _run(self, link: str, name: str) -> None:
        try:
            with Client.join(link, name=name, patience_s=300.0) as client:
                while True:
                    task = client.next_task(wait_s=5.0)
                    if task is not None:
                        self._work(client, task)
        except RunOver:
            with self._changed:
                self.told += 1
                self._changed.notify_all()
        except BaseException as error:
            with self._changed:
                self.problems.append(error)
                self._changed.notify_all()

    def _work(self, client: Client, task) -> None:
        update = np.zeros(self.size, np.float64)
        with self._changed:
            place = self._places.setdefault(task.ticket, len(self._places)) if self._marks else None
        if place is not None:
            update[place] = 1.0
        counts = client.send_update(task.ticket, {"w": update}, num_examples=1)
        if place is not None:
            with self._changed:
                (self.accepted if counts else self.refused).add(place)
                self._changed.notify_all()

    def wait_for(self, more: int, timeout_s: float = 240.0) -> None:
        """Wait until so many more updates were accepted."""
        with self._changed:
            wanted = len(self.accepted) + more
            done = self._changed.wait_for(lambda: self.problems or len(self.accepted) >= wanted, timeout_s)
            assert done, (len(self.accepted), wanted)
            assert not self.problems

    def stop_marking(self) -> list[int]:
        """Send updates of zeros from now on, but for those on their way; return the places accepted so far."""
        with self._changed:
            self._marks = False
            return sorted(self.accepted)

    @property
    def sent(self) -> set[int]:
        """The places of all updates, those on their way included."""
        with self._changed:
            return set(self._places.values())

    def wait_told(self, timeout_s: float = 30.0) -> None:
        """Wait until a device was told that the run is over; others find no gateway, and try for a while."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.told, timeout_s)
            assert not self.problems


def link_of(folder: Path, timeout_s: float = 240.0) -> str:
    """Return the link of the gateway of a site's run folder, as soon as it is there."""
    path, until = folder / "gateway" / "join-link.txt", time.monotonic() + timeout_s
    while not (link := path.read_text() if path.is_file() else "").endswith("\n"):
        assert time.monotonic() < until, path
        threading.Event().wait(0.1)
    return link.strip()

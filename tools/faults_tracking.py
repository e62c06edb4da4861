"""A receiver for tracked jobs of tools/faults.py, shipped with them, that sends each value to the tracker."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from flare_core import ObservedRun
from flare_core.events import RunEnded
from flare_runtime.tracking.receiver import Entry, Receiver


class LineReceiver(Receiver):
    """A receiver that sends a line for each value and waits for an answer without a timeout.

    Args:
        host: the tracker's host.
        port: the tracker's port.
    """

    tracker, extra = "lines", "none"
    opens_within_s, stalls_after_s = 2.0, 10.0

    def __init__(self, *, host: str, port: int) -> None:
        self.host = host
        self.port = port

    def open(self, run: ObservedRun) -> None:
        self._lines = socket.create_connection((self.host, self.port)).makefile("rw")
        self._say(f"run {run.job_id}")

    def write(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self._say(f"{entry.name} {entry.value} {entry.step}")

    def close(self, end: RunEnded) -> None:
        self._say(f"end {end.outcome}")
        self._lines.close()

    def _say(self, line: str) -> None:
        self._lines.write(f"{line}\n")
        self._lines.flush()
        if not self._lines.readline():
            raise ConnectionError("the tracker closed the connection")

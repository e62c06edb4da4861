"""Followers: administrators who read a log or the events of a run while it goes on.

Each asks for what comes after what it has read, and the answer waits until there is something. So the server keeps
nothing about a follower between two requests, and one who is slow or gone holds up nobody.
"""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from flare_deploy.server.store import DatabaseError, StoreError
from flare_runtime.run.event_log import EVENTS, read_lines
from flare_transport import TransportError, blocking

if TYPE_CHECKING:
    from flare_deploy.server.daemon import ServerDaemon

logger = logging.getLogger(__name__)

PIECE_BYTES = 1 << 17
WAIT_S = 30.0  # for additions; a follower that is gone occupies a thread no longer than that


class Followers:
    """Lets administrators wait for additions to the files of runs.

    Args:
        daemon: whose runs they are.
    """

    def __init__(self, daemon: ServerDaemon) -> None:
        self._daemon = daemon
        self._news = threading.Condition()
        self._count = 0  # of the calls of wake(); noted before a file is read, so that no growth is missed
        self._watched: dict[str, str] = {}  # by job, the cell of its process that will say when its files grow

    def read_on(self, job: str, path: Path, after: int, offset: int) -> tuple[bytes, int] | None:
        """Wait for additions to a file of a run.

        Args:
            job: the run's job.
            path: the file.
            after: in a file of events, the last sequence number that was read.
            offset: where in the file what follows begins.
        Returns:
            The additions, empty if none have come for a while, and the offset after them; None if the job has ended
            and nothing follows.
        Raises:
            StoppingError: the server is being stopped.
        """
        until = time.monotonic() + WAIT_S
        while True:
            self._daemon.check_open()
            seen = self._count
            is_over = self._is_over(job)  # looked at before the file, so that nothing is missed
            content, end = _read(path, after, offset)
            if content:
                return content, end
            if is_over:
                return None
            self._watch(job)
            with blocking(), self._news:
                if self._count == seen and not self._news.wait(max(0.0, until - time.monotonic())):
                    return b"", offset

    def wake(self, job: str) -> None:
        """Let the followers of a job look again: its files have grown, its process has started, or it has ended."""
        with self._news:
            self._watched.pop(job, None)
            self._count += 1
            self._news.notify_all()

    def close(self) -> None:
        """Let all followers look again, as the server is being stopped."""
        self.wake("")

    def _is_over(self, job: str) -> bool:
        if job in self._daemon.running:
            return False
        try:
            return self._daemon.store.job(job).has_ended
        except DatabaseError:
            return False  # the daemon wakes us when it has recorded the end
        except StoreError:
            return True  # it was deleted

    def _watch(self, job: str) -> None:
        """Ask the job's process to say when the files of its run grow."""
        running = self._daemon.running.get(job)
        if running is None or not running.is_up or self._watched.get(job) == running.cell_name:
            return
        with self._news:
            self._watched[job] = running.cell_name
        try:
            self._daemon.cell.send(running.cell_name, "job.watch", [])
        except TransportError as error:  # its end is about to be noticed
            logger.debug("the job's process is gone job=%s reason=%s", job, error)


def _read(path: Path, after: int, offset: int) -> tuple[bytes, int]:
    if path.name == EVENTS:
        return read_lines(path, after, offset, PIECE_BYTES)
    if not path.is_file():
        return b"", offset
    with path.open("rb") as file:
        file.seek(offset)
        content = file.read(PIECE_BYTES)
    return content, offset + len(content)

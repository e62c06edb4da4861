"""Followers: administrators who read a log or the events of a run while it goes on.

Each has a byte stream from the server to its own cell. One thread writes to all of them, only what their credit allows,
so nobody who is slow holds up the others; the run itself is in another process, and not held up at all.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flare_deploy.server.members import MembersError
from flare_deploy.server.store import DatabaseError, StoreError
from flare_runtime.run.event_log import EVENTS, read_lines, seq_of
from flare_transport import StreamWriter, TransportError

if TYPE_CHECKING:
    from flare_deploy.server.daemon import ServerDaemon

logger = logging.getLogger(__name__)

MOST_STREAMS = 32  # of one administrator
WINDOW_BYTES = 1 << 16  # all windows of one administrator together stay below what a link takes without waiting
PIECE_BYTES = 1 << 17
SLOW_S = 60.0  # a follower that has read nothing for so long is dropped; it can come again, and goes on where it was


@dataclass(slots=True, eq=False)
class _Follower:
    """One stream.

    Attributes:
        after: the last sequence number that was read from a file of events.
        offset: where in the file what follows begins.
        pending: was read and not sent yet.
        stuck_since: since when the reader has granted no credit for that, on the monotonic clock.
    """

    who: str
    job: str
    path: Path
    writer: StreamWriter
    after: int
    offset: int
    pending: bytes = b""
    stuck_since: float | None = None

    def fill(self) -> None:
        """Read on, if all that was read is sent."""
        if self.pending:
            return
        if self.path.name == EVENTS:
            self.pending, self.offset = read_lines(self.path, self.after, self.offset, PIECE_BYTES)
            if self.pending:
                self.after = seq_of(self.pending.rstrip(b"\n").rpartition(b"\n")[2])
        elif self.path.is_file():
            with self.path.open("rb") as file:
                file.seek(self.offset)
                self.pending = file.read(PIECE_BYTES)
            self.offset += len(self.pending)

    def push(self) -> bool:
        """Send one piece, as far as the reader has granted credit; return whether that was any.

        Raises:
            TransportError: the follower is gone.
        """
        self.fill()
        sent = self.writer.offer(self.pending)
        self.pending = self.pending[sent:]
        if sent or not self.pending:
            self.stuck_since = None
        elif self.stuck_since is None:
            self.stuck_since = time.monotonic()
        return sent > 0


class Followers:
    """All who follow a run of this server.

    Args:
        daemon: whose runs they are.
    """

    def __init__(self, daemon: ServerDaemon) -> None:
        self._daemon = daemon
        self._news = threading.Condition()
        self._followers: list[_Follower] = []
        self._awake: set[str] = set()  # jobs whose followers may have something to read, or room for it
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def add(self, who: str, job: str, path: Path, position: int, open_stream: Callable[[], StreamWriter]) -> None:
        """Send a file to a new follower, from ``position`` on until the job has ended.

        Args:
            position: a sequence number for a file of events, an offset in bytes for any other.
            open_stream: opens the stream to the follower.
        Raises:
            MembersError: the administrator has too many streams.
        """
        if sum(each.who == who for each in self._followers.copy()) >= MOST_STREAMS:
            raise MembersError(f"{who} follows {MOST_STREAMS} files already; end one of these first")
        writer = open_stream()
        is_events = path.name == EVENTS
        follower = _Follower(who, job, path, writer, position if is_events else 0, 0 if is_events else position)
        writer.changed = lambda: self.wake(job)
        with self._news:
            self._followers.append(follower)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="flare-followers", daemon=True)
                self._thread.start()
        self.wake(job)

    def wake(self, job: str) -> None:
        """Look after the followers of a job, whose files have grown or whose state may be another now."""
        with self._news:
            self._awake.add(job)
            self._news.notify()

    def close(self) -> None:
        """End the thread; called when the cell is closed, and the streams with it."""
        with self._news:
            self._is_closed = True
            self._news.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._awake or self._is_closed, self._patience_s())
                if self._is_closed:
                    return
                awake, self._awake = self._awake, set()
                now = time.monotonic()
                slow = [each for each in self._followers if each.stuck_since and now > each.stuck_since + SLOW_S]
                found = [each for each in self._followers if each.job in awake and each not in slow]
            for each in slow:
                self._drop(each, f"it has read nothing for {SLOW_S:g} s")
            for job in {each.job for each in found}:
                self._serve(job, [each for each in found if each.job == job])

    def _patience_s(self) -> float | None:
        """How long to sleep until the next follower is too slow."""
        stuck = [each.stuck_since for each in self._followers if each.stuck_since is not None]
        return max(0.0, min(stuck) + SLOW_S - time.monotonic()) + 0.01 if stuck else None

    def _serve(self, job: str, followers: list[_Follower]) -> None:
        is_over = self._is_over(job)  # looked at before the files, so that nothing is missed
        for each in followers:
            try:
                if each.push():
                    self.wake(job)  # there may be more; but first it is the turn of others
                elif is_over and not each.pending:
                    each.writer.end()
                    self._forget(each)
            except (OSError, TransportError) as error:
                self._drop(each, str(error))

    def _is_over(self, job: str) -> bool:
        if job in self._daemon.running:
            return False
        try:
            return self._daemon.store.job(job).has_ended
        except DatabaseError:
            return False  # the daemon wakes us when it has recorded the end
        except StoreError:
            return True  # it was deleted

    def _drop(self, follower: _Follower, reason: str) -> None:
        logger.info("follower dropped who=%s job=%s reason=%s", follower.who, follower.job, reason)
        self._forget(follower)
        follower.writer.abort(reason)

    def _forget(self, follower: _Follower) -> None:
        with self._news:
            self._followers.remove(follower)

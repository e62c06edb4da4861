"""Turns: cooperative scheduling of the scripts that share a process. One runs at a time, until it waits.

Each script has a thread and a seat. It holds the turn while it runs, and passes it on in those calls of the Client API
that wait. So scripts need no locks, never see each other's process-wide state, and a run does not depend on how threads
are scheduled.

Processes take turns as well where there are more of them than may run at a time: then a process also needs its lane
(:mod:`flare_runtime.scripts.lanes`).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto

from flare_runtime.scripts.lanes import Lane


class _Place(Enum):
    RUNNING = auto()  # holds the turn
    QUEUED = auto()  # waits for the turn
    WAITING = auto()  # waits for something else, until it is woken
    GONE = auto()


@dataclass(eq=False, slots=True)
class Seat:
    """One script's place among those that take turns.

    Attributes:
        name: the site's name.
        switched: called on the script's thread when it gets the turn after another seat had it.
        baton: a lock that the seat's thread waits for; whoever passes the turn to the seat releases it.
    """

    name: str
    switched: Callable[[], None]
    place: _Place = _Place.GONE
    baton: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.baton.acquire()


class Turns:
    """Passes one turn from seat to seat, first come, first served.

    Args:
        announce: called with the seat that is about to run.
        lane: held while a seat of this process runs; None if the process may always run.
    """

    def __init__(self, announce: Callable[[Seat], None] = lambda seat: None, lane: Lane | None = None) -> None:
        self._mutex = threading.Lock()
        self._queue: deque[Seat] = deque()
        self._holder: Seat | None = None
        self._last: Seat | None = None
        self._announce = announce
        self._lane = lane

    def join(self, seat: Seat) -> None:
        """Queue a seat for the turn, before its thread starts: the order of turns is that of these calls."""
        with self._mutex:
            self._enqueue(seat)

    def begin(self, seat: Seat) -> None:
        """Wait for the turn after :meth:`join`; called on the seat's own thread."""
        seat.baton.acquire()
        self._began(seat)

    def leave(self, seat: Seat) -> None:
        """Pass the turn on for good."""
        with self._mutex:
            seat.place = _Place.GONE
            self._pass_on()

    def wait(self, seat: Seat, ready: Callable[[], bool], timeout_s: float | None = None) -> bool:
        """Pass the turn on until ``ready()`` is true at a :meth:`wake` or the timeout expires, then wait for the turn.

        Returns:
            The last value of ``ready()``: False only after a timeout.
        """
        until = None if timeout_s is None else time.monotonic() + timeout_s
        is_over = False
        while True:
            with self._mutex:
                if ready():
                    return True
                if is_over:
                    return False
                seat.place = _Place.WAITING
                self._pass_on()
            if not seat.baton.acquire(timeout=-1 if until is None else max(0.0, until - time.monotonic())):
                with self._mutex:
                    if seat.place is _Place.WAITING:  # not woken meanwhile, so it has to queue by itself
                        self._enqueue(seat)
                seat.baton.acquire()
            self._began(seat)  # it may have been woken for something else, hence the loop
            is_over = until is not None and time.monotonic() >= until

    def wake(self, seat: Seat) -> None:
        """Queue a waiting seat; called, from any thread, after a condition that it may wait for has become true."""
        with self._mutex:
            if seat.place is _Place.WAITING:
                self._enqueue(seat)

    def _began(self, seat: Seat) -> None:
        if self._lane is not None:
            self._lane.acquire()
        if self._last is not seat:
            self._last = seat
            seat.switched()

    def _enqueue(self, seat: Seat) -> None:
        seat.place = _Place.QUEUED
        self._queue.append(seat)
        if self._holder is None:
            self._pass_on()

    def _pass_on(self) -> None:
        self._holder = self._queue.popleft() if self._queue else None
        if self._holder is not None:
            self._holder.place = _Place.RUNNING
            self._announce(self._holder)
            self._holder.baton.release()
        elif self._lane is not None:
            self._lane.release()

"""Turns: scripts that share a process run one at a time, each until it waits for something.

A script holds the turn while it runs, and gives it away in the calls of the Client API that wait. So scripts need no
locks, never see each other's process-wide state, and a run does not depend on how threads are scheduled.

Scripts in processes of their own take turns as well where there are more of them than may run at a time: then the
process also needs its lane (:mod:`flare_runtime.scripts.lanes`).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from enum import Enum, auto

from flare_runtime.scripts.lanes import Lane

__all__ = ["Seat", "Turns"]


class _Place(Enum):
    RUNNING = auto()  # has the turn
    QUEUED = auto()  # could run
    WAITING = auto()  # waits for something other than the turn
    GONE = auto()


class Seat:
    """One script's place among those that take turns.

    Args:
        name: the site, for messages.
        switched: called on the script's own thread when it gets the turn after another seat had it.
    """

    __slots__ = ("baton", "name", "place", "switched")

    def __init__(self, name: str, switched: Callable[[], None]) -> None:
        self.name = name
        self.switched = switched
        self.place = _Place.GONE
        self.baton = threading.Lock()
        self.baton.acquire()


class Turns:
    """Hands one turn around, first come first served.

    Args:
        announce: told the seat that is about to run, before it does.
        lane: taken while a seat of this process runs; None if this process need not ask others.
    """

    def __init__(self, announce: Callable[[Seat], None] = lambda seat: None, lane: Lane | None = None) -> None:
        self._mutex = threading.Lock()
        self._queue: deque[Seat] = deque()
        self._holder: Seat | None = None
        self._last: Seat | None = None
        self._announce = announce
        self._lane = lane

    def join(self, seat: Seat) -> None:
        """Ask for the turn, for a thread that will then :meth:`begin`."""
        with self._mutex:
            self._enqueue(seat)

    def begin(self, seat: Seat) -> None:
        """Wait for the turn that was asked for with :meth:`join`."""
        seat.baton.acquire()
        self._began(seat)

    def leave(self, seat: Seat) -> None:
        """Give the turn away without wanting it back."""
        with self._mutex:
            seat.place = _Place.GONE
            self._pass_on()

    def wait(self, seat: Seat, ready: Callable[[], bool], timeout_s: float | None = None) -> bool:
        """Give the turn away until :meth:`wake` finds ``ready()`` true or the time is over, then wait for the turn.

        Returns:
            What ``ready()`` says in the end: true, unless the time is over.
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
                    if seat.place is _Place.WAITING:
                        self._enqueue(seat)
                seat.baton.acquire()
            self._began(seat)  # woken for this, or for something else that the seat will look at later
            is_over = until is not None and time.monotonic() >= until

    def wake(self, seat: Seat) -> None:
        """Queue a seat that waits; called, by any thread, after something that it may wait for has come true."""
        with self._mutex:
            if seat.place is _Place.WAITING:
                self._enqueue(seat)

    def _began(self, seat: Seat) -> None:
        if self._lane is not None:
            self._lane.take()
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
            self._lane.give()

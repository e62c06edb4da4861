"""Threads for handlers: a pool that makes up for handlers which wait, and strands that keep order on it."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeAlias

__all__ = ["HandlerPool", "Strand", "blocking"]

logger = logging.getLogger(__name__)

Job: TypeAlias = Callable[[], None]

MAX_BLOCKED = 256
_current = threading.local()


class HandlerPool:
    """Runs jobs on at most ``threads`` threads, not counting up to ``MAX_BLOCKED`` whose job is :class:`blocking`.

    A handler that waits for another cell would else keep that cell's own requests from being handled, and a pool full
    of such handlers would never move again. The ``threads`` start with the first job, all of them, so that what a
    process holds does not depend on how long it has run; those beyond start when they are needed and end after.
    """

    def __init__(self, name: str, threads: int) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._unclaimed = 0  # jobs in the queue that are promised to no thread
        self._idle = 0  # threads at the queue that are promised no job
        self._threads_at_rest = threads
        self._allowed = threads
        self._threads: set[threading.Thread] = set()
        self._closed = False

    def submit(self, job: Job) -> None:
        """Run ``job`` as soon as a thread is free; after :meth:`close` it is dropped."""
        with self._lock:
            if self._closed:
                return
            if not self._threads:
                for _ in range(self._threads_at_rest):
                    self._start()
                    self._idle += 1
            if self._idle:
                self._idle -= 1
            elif len(self._threads) < self._allowed:
                self._start()
            else:
                self._unclaimed += 1
            self._queue.put(job)

    def close(self, *, wait: bool) -> None:
        """Drop what has not begun; with ``wait``, return when what has begun is over."""
        with self._lock:
            self._closed = True
            threads = list(self._threads)
            for _ in threads:
                self._queue.put(None)
        if wait:
            for thread in threads:
                if thread is not threading.current_thread():
                    thread.join()

    def enter_wait(self) -> bool:
        """Let another thread work in place of the calling one, which is about to wait; false if too many wait."""
        with self._lock:
            if self._allowed >= self._threads_at_rest + MAX_BLOCKED:
                return False
            self._allowed += 1
            if self._unclaimed and len(self._threads) < self._allowed and not self._closed:
                self._start()
                self._unclaimed -= 1
            return True

    def leave_wait(self) -> None:
        """Take the place of the calling thread back."""
        with self._lock:
            self._allowed -= 1

    def _start(self) -> None:
        thread = threading.Thread(target=self._work, name=f"flare-cell-{self._name}", daemon=True)
        self._threads.add(thread)
        try:
            thread.start()
        except BaseException:
            self._threads.discard(thread)
            raise

    def _work(self) -> None:
        _current.pool = self
        while (job := self._queue.get()) is not None:
            if not self._closed:
                _run(job)
            job = None  # what it refers to must not live until the next one comes
            if not self._may_stay():
                return
        with self._lock:
            self._threads.discard(threading.current_thread())

    def _may_stay(self) -> bool:
        with self._lock:
            if self._unclaimed:
                self._unclaimed -= 1
            elif len(self._threads) > self._allowed:
                self._threads.discard(threading.current_thread())
                return False
            else:
                self._idle += 1
            return True


class Strand:
    """Runs its jobs on a pool in the order in which they came, one at a time."""

    def __init__(self, pool: HandlerPool) -> None:
        self._pool = pool
        self._lock = threading.Lock()
        self._jobs: deque[Job] = deque()
        self._running = False

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs or waits."""
        return not self._running

    def submit(self, job: Job) -> None:
        """Run ``job`` after all that came before it."""
        with self._lock:
            self._jobs.append(job)
            if self._running:
                return
            self._running = True
        self._pool.submit(self._run)

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._jobs:
                    self._running = False
                    return
                job = self._jobs.popleft()
            _run(job)


class blocking:
    """Tell that the handler which runs this code waits for something, so that others may run meanwhile.

    What waits inside this package says so by itself.
    """

    __slots__ = ("_pool",)

    def __enter__(self) -> None:
        pool: HandlerPool | None = getattr(_current, "pool", None)
        self._pool = pool if pool is not None and pool.enter_wait() else None

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.leave_wait()


def _run(job: Job) -> None:
    try:
        job()
    except BaseException:
        logger.exception("job of a handler pool failed")

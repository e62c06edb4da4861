"""Threads for handlers: a pool that replaces blocked threads, and strands, which run jobs of a pool in order."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeAlias

logger = logging.getLogger(__name__)

Job: TypeAlias = Callable[[], None]

MAX_BLOCKED = 256
_current = threading.local()


class HandlerPool:
    """Runs jobs on at most ``threads`` threads, not counting up to ``MAX_BLOCKED`` threads that are :class:`blocking`.

    Handlers may wait for other cells, whose own requests need a thread here before they can reply: a pool full of
    waiting handlers would be deadlocked. All ``threads`` start with the first job, so that the memory of a process does
    not depend on its history; threads beyond those start on demand and end afterwards.
    """

    def __init__(self, name: str, threads: int) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._unclaimed = 0  # queued jobs that no thread is committed to
        self._idle = 0  # threads waiting at the queue that are not committed to a job
        self._base_threads = threads
        self._allowed = threads  # the base threads, and one for each that is blocked
        self._threads: set[threading.Thread] = set()
        self._closed = False

    def submit(self, job: Job) -> None:
        """Run ``job`` as soon as a thread is free; dropped after :meth:`close`."""
        with self._lock:
            if self._closed:
                return
            if not self._threads:
                for _ in range(self._base_threads):
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
        """Drop jobs that have not started; with ``wait``, return when the running ones have ended."""
        with self._lock:
            self._closed = True
            threads = list(self._threads)
            for _ in threads:
                self._queue.put(None)  # one end mark for each thread
        if wait:
            for thread in threads:
                if thread is not threading.current_thread():
                    thread.join()

    def enter_wait(self) -> bool:
        """Allow another thread in place of the calling one, which is about to block; return false if too many are."""
        with self._lock:
            if self._allowed >= self._base_threads + MAX_BLOCKED:
                return False
            self._allowed += 1
            if self._unclaimed and len(self._threads) < self._allowed and not self._closed:
                self._start()
                self._unclaimed -= 1
            return True

    def leave_wait(self) -> None:
        """Undo :meth:`enter_wait`; a surplus thread ends after its current job."""
        with self._lock:
            self._allowed -= 1

    def _start(self) -> None:
        thread = threading.Thread(target=self._work, name=f"flare-cell-{self._name}", daemon=True)
        self._threads.add(thread)  # before it starts, so that close() never misses it
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
            job = None  # its objects must not stay alive until the next job comes
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
    """Runs its jobs on a pool one at a time, in the order of their submission."""

    def __init__(self, pool: HandlerPool) -> None:
        self._pool = pool
        self._lock = threading.Lock()
        self._jobs: deque[Job] = deque()
        self._running = False

    @property
    def is_idle(self) -> bool:
        """True if no job is running or queued."""
        return not self._running

    def submit(self, job: Job) -> None:
        """Run ``job`` after all jobs submitted before."""
        with self._lock:
            self._jobs.append(job)
            if self._running:  # the running thread takes it, as it looks again under the lock before it stops
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
    """Context manager for code of a handler that waits for something, so that another handler may run meanwhile.

    The waiting functions of this package use it themselves. Does nothing outside of handlers.
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

"""The event loop, on a thread of its own, that all gRPC links of a process share."""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from flare_transport.errors import UnreachableError
from flare_transport.links.allocator import give_back_memory, keep_chunk_memory

if sys.platform == "win32":  # for which there is no uvloop
    from asyncio import new_event_loop
else:
    from uvloop import new_event_loop

Result = TypeVar("Result")

GIVE_BACK_AFTER_S = 0.5
STOPS_WITHIN_S = 5.0  # wait no longer for the loop at exit, so that the process always ends

_lock = threading.Lock()
_shared: EventLoop | None = None


class EventLoop:
    """An asyncio event loop on a thread of its own, which stops when the interpreter exits.

    Attributes:
        process: id of the process that has started the thread; a fork has no such thread.
        asyncio: the loop.
        over: whether it has stopped, so that no link of the process changes any more.
    """

    def __init__(self) -> None:
        keep_chunk_memory()
        self.process = os.getpid()
        self.asyncio: asyncio.AbstractEventLoop = new_event_loop()
        self._thread = threading.Thread(target=self.asyncio.run_forever, name="grpc-loop", daemon=True)
        self._thread.start()
        self._ident = self._thread.ident
        self._giving_back: asyncio.TimerHandle | None = None
        self.over = False
        atexit.register(self._stop)  # gRPC's C code must not call an interpreter that has been finalized

    @property
    def is_current(self) -> bool:
        """True if the calling thread is the loop's."""
        return threading.get_ident() == self._ident

    def call(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function on the loop's thread: at once if called on that thread, else soon. Calls keep their order."""
        if self.is_current:
            function(*args)
        else:
            self.asyncio.call_soon_threadsafe(function, *args)

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine and wait for its result; must not be called on the loop's thread.

        Raises:
            UnreachableError: the process is exiting.
        """
        assert not self.is_current, "the event loop must not wait for itself"
        if self.over:
            coroutine.close()
            raise UnreachableError("this process is exiting and has no links any more")
        future = asyncio.run_coroutine_threadsafe(coroutine, self.asyncio)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def _stop(self) -> None:
        if self.process != os.getpid():  # a fork, where this thread does not exist
            return
        self.over = True
        self.asyncio.call_soon_threadsafe(self.asyncio.stop)
        self._thread.join(STOPS_WITHIN_S)

    def give_back_memory(self) -> None:
        """Give what links have used back to the system in a moment; called on the loop's thread.

        The links of a job end together. They have it done once, since every thread that allocates waits meanwhile.
        """
        if self._giving_back is None:
            self._giving_back = self.asyncio.call_later(GIVE_BACK_AFTER_S, self._give_back)

    def _give_back(self) -> None:
        self._giving_back = None
        with suppress(RuntimeError):  # the process is ending, and starts no thread any more
            self.asyncio.run_in_executor(None, give_back_memory)


def event_loop() -> EventLoop:
    """Return the event loop of this process, starting it if necessary."""
    global _shared
    with _lock:
        if _shared is None or _shared.process != os.getpid():  # a thread does not survive a fork
            _shared = EventLoop()
        return _shared

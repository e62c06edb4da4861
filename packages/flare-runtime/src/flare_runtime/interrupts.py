"""Waits of the main thread that Ctrl-C ends for certain."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

__all__ = ["interruptible"]

_HANDLED, _DONE = b"\xfe", b"\xff"  # the numbers of no signals
_AGAIN_MS = 20
_watched = threading.Lock()


@contextmanager
def interruptible() -> Iterator[None]:
    """Within the block, Ctrl-C ends whatever the main thread waits for, if its handler raises, as Python's own does.

    Python runs the handlers of signals when its main thread runs code, and when a system call of that thread ends
    early. A signal that comes just before the thread waits for a lock, or that the system gives to another thread, is
    seen only after the wait, which may be never. So signals also write to a pipe, and a thread that reads it sends the
    main one SIGURG, which does nothing else than end a system call, until the handler of Ctrl-C has run.

    On another thread, within another such block, and on Windows, the block just runs.
    """
    original = signal.getsignal(signal.SIGINT)
    is_main = threading.current_thread() is threading.main_thread()
    if sys.platform == "win32" or not is_main or not callable(original) or not _watched.acquire(blocking=False):
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        os.write(write, _HANDLED)
        original(number, frame)

    with ExitStack() as undo:  # all of it, even if Ctrl-C is pressed in here
        undo.callback(_watched.release)
        read, write = os.pipe()
        undo.callback(os.close, read)
        undo.callback(os.close, write)
        os.set_blocking(write, False)
        undo.callback(signal.signal, signal.SIGURG, signal.signal(signal.SIGURG, lambda number, frame: None))
        wakeup = signal.set_wakeup_fd(-1)
        undo.callback(signal.set_wakeup_fd, wakeup)
        watcher = threading.Thread(target=_watch, args=(read, wakeup), name="flare-signals", daemon=True)
        watcher.start()
        undo.callback(watcher.join)
        undo.callback(os.write, write, _DONE)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        undo.callback(signal.set_wakeup_fd, wakeup)
        signal.signal(signal.SIGINT, handle)
        undo.callback(signal.signal, signal.SIGINT, original)
        yield


def _watch(read: int, wakeup: int) -> None:
    """Read what signals write, and wake the main thread while it has not seen a SIGINT.

    ``wakeup`` is what the caller's signals were written to before, by an event loop, say, which wants to know of them.
    """
    poll = select.poll()
    poll.register(read, select.POLLIN)
    is_unseen = False
    while True:
        if poll.poll(_AGAIN_MS if is_unseen else None):
            for number in os.read(read, 64):
                mark = bytes([number])
                if mark == _DONE:
                    return
                if mark == _HANDLED:
                    is_unseen = False
                elif number != signal.SIGURG:
                    is_unseen = is_unseen or number == signal.SIGINT
                    if wakeup != -1:
                        os.write(wakeup, mark)
        if is_unseen:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGURG)

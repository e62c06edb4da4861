"""Interruptible waits: Ctrl-C reliably ends whatever the main thread waits for."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

_HANDLED, _DONE = b"\xfe", b"\xff"  # not numbers of signals
_AGAIN_MS = 20
_watched = threading.Lock()


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C end any wait of the main thread within the block, if its handler raises, as Python's own does.

    Python runs signal handlers when its main thread executes code, or when a system call of that thread is interrupted.
    A signal that arrives just before the thread waits for a lock, or that the kernel delivers to another thread, is
    handled only after the wait, which may be never. So signals are also written to a pipe, and a thread that reads it
    sends SIGURG to the main thread, which only interrupts a system call, until the handler of Ctrl-C has run.

    On other threads, inside another such block, and on Windows, the block just runs.
    """
    original = signal.getsignal(signal.SIGINT)
    is_main = threading.current_thread() is threading.main_thread()
    if sys.platform == "win32" or not is_main or not callable(original) or not _watched.acquire(blocking=False):
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        os.write(write, _HANDLED)
        original(number, frame)

    with ExitStack() as undo:  # undoes everything, even if Ctrl-C is pressed between these lines
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
    """Read the numbers of signals, and interrupt the main thread until it has handled SIGINT.

    Args:
        read: the pipe.
        wakeup: the previous wakeup descriptor, such as an event loop's, to which signals are passed on; -1 for none.
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

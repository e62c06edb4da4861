"""Waits that Ctrl-C ends for certain."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import TypeVar

__all__ = ["interruptible"]

Result = TypeVar("Result")

_DONE = b"\0"  # the number of no signal


def interruptible(wait: Callable[[], Result]) -> Result:
    """Call ``wait`` and return what it returns, unless Ctrl-C is pressed on the main thread meanwhile.

    Python looks for signals when its main thread runs code, and when a system call of that thread ends early. One that
    comes just before the thread waits for a lock, or that the system gives to another thread, is seen only after the
    wait, which may be never. So ``wait`` is called on a thread of its own, and the main thread reads a pipe that
    signals write to themselves. After Ctrl-C, ``wait`` goes on by itself, and its outcome is dropped.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed.
    """
    if threading.current_thread() is not threading.main_thread():
        return wait()
    outcome: Future[Result] = Future()
    read, write = os.pipe()
    os.set_blocking(write, False)
    wakeup = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    try:
        threading.Thread(target=_run, args=(wait, outcome, os.dup(write)), name="flare-wait", daemon=True).start()
        seen = b""
        while _DONE not in seen:
            seen = os.read(read, 64)
            if wakeup != -1:  # that of an event loop, say, which wants to know of its signals
                os.write(wakeup, seen)
    finally:
        signal.set_wakeup_fd(wakeup)
        os.close(read)
        os.close(write)
    return outcome.result()


def _run(wait: Callable[[], Result], outcome: Future[Result], done: int) -> None:
    try:
        outcome.set_result(wait())
    except BaseException as error:
        outcome.set_exception(error)
    with suppress(BrokenPipeError), os.fdopen(done, "wb", buffering=0) as pipe:  # nobody reads it after Ctrl-C
        pipe.write(_DONE)

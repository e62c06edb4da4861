"""Ctrl-C ends a wait, whichever thread the system gives the signal to."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from flare_runtime.interrupts import interruptible


def signal_to_another_thread():
    """What main threads are not woken by."""
    thread = threading.Thread(target=lambda: signal.pthread_kill(threading.get_ident(), signal.SIGINT))
    thread.start()
    thread.join()


@pytest.mark.timeout(30)
def test_ctrl_c_ends_a_wait_that_nothing_else_ends():
    go_on, ended = threading.Event(), threading.Event()

    def wait():
        signal_to_another_thread()
        go_on.wait()
        ended.set()

    with pytest.raises(KeyboardInterrupt):
        interruptible(wait)
    go_on.set()
    assert ended.wait(20)  # it is left to itself
    assert signal.set_wakeup_fd(-1) == -1


def test_what_is_waited_for_comes_through():
    assert interruptible(lambda: 3) == 3
    with pytest.raises(ValueError, match="not this"):
        interruptible(lambda: int("not this"))


def test_on_other_threads_it_is_called_there():
    found = []
    thread = threading.Thread(target=lambda: found.append(interruptible(threading.current_thread)))
    thread.start()
    thread.join()
    assert found == [thread]


def test_an_event_loop_of_the_caller_learns_of_its_signals():
    read, write = os.pipe()
    os.set_blocking(write, False)
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    signal.set_wakeup_fd(write)
    try:
        interruptible(lambda: os.kill(os.getpid(), signal.SIGUSR1))
        assert signal.SIGUSR1 in os.read(read, 64)
    finally:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGUSR1, before)
        os.close(read)
        os.close(write)

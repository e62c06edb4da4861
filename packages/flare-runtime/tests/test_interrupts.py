"""Ctrl-C ends a wait, whichever thread the kernel delivers the signal to."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from flare_runtime.interrupts import interruptible


def wait_for_ever():
    """Wait for a lock while Ctrl-C is delivered to another thread, which does not wake the main thread."""
    waits, lock = threading.Event(), threading.Lock()
    lock.acquire()

    def press():
        waits.wait()
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    try:
        waits.set()
        lock.acquire()
    finally:
        thread.join()


@pytest.fixture(autouse=True)
def nothing_is_left():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGURG)}
    threads = set(threading.enumerate())
    yield
    assert {number: signal.getsignal(number) for number in before} == before
    assert signal.set_wakeup_fd(-1) == -1
    assert set(threading.enumerate()) == threads


@pytest.mark.timeout(30)
def test_ctrl_c_ends_an_endless_wait():
    for _ in range(3):  # no trace of one is left for the next
        with pytest.raises(KeyboardInterrupt), interruptible():
            wait_for_ever()


@pytest.mark.timeout(30)
def test_each_ctrl_c_ends_exactly_one_wait():
    with interruptible():
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                wait_for_ever()
        assert not threading.Event().wait(0.1)


def test_results_of_the_block_are_not_disturbed():
    with interruptible(), interruptible():
        assert threading.Lock().acquire()
    with pytest.raises(ValueError, match="not this"), interruptible():
        int("not this")


def test_on_other_threads_the_block_just_runs():
    found = []

    def run():
        with interruptible():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGINT)]


def test_the_callers_event_loop_still_receives_its_signals():
    read, write = os.pipe()
    os.set_blocking(write, False)
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    signal.set_wakeup_fd(write)
    try:
        with interruptible():
            os.kill(os.getpid(), signal.SIGUSR1)
            assert os.read(read, 64) == bytes([signal.SIGUSR1])
    finally:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGUSR1, before)
        os.close(read)
        os.close(write)

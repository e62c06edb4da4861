"""One of the processes that share a lane holds it; the kernel releases it when that process ends."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import textwrap

import pytest

from flare_runtime.scripts.lanes import Lane

HOLDER = """
    import os, sys
    from flare_runtime.scripts.lanes import Lane

    lane = Lane(int(sys.argv[1]), 0)
    lane.acquire()
    lane.acquire()  # a second call does nothing
    if sys.argv[2] == "with a child" and os.fork() == 0:
        os.close(0)
        os.read(int(sys.argv[3]), 1)  # lives on until the test is over
        os._exit(0)
    print("held", flush=True)
    sys.stdin.read(1)
    lane.release()
    print("given", flush=True)
    sys.stdin.read()
"""

WAITER = """
    import sys
    from flare_runtime.scripts.lanes import Lane

    Lane(int(sys.argv[1]), int(sys.argv[2])).acquire()
    print("taken", flush=True)
"""


@pytest.fixture
def start():
    """Start programs with the descriptor of the lanes' file; all are killed at the end of the test."""
    over, end = os.pipe()
    processes = []
    with tempfile.TemporaryFile() as file:

        def run(code: str, *arguments: str) -> subprocess.Popen[str]:
            command = [sys.executable, "-c", textwrap.dedent(code), str(file.fileno()), *arguments, str(over)]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            processes.append(subprocess.Popen(command, pass_fds=[file.fileno(), over], **pipes))
            return processes[-1]

        yield run
    os.close(end)
    os.close(over)
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("child", ["alone", "with a child"])
def test_a_killed_process_releases_its_lane(start, child):
    holder = start(HOLDER, child)
    assert holder.stdout.readline() == "held\n"
    waiter = start(WAITER, "0")
    holder.kill()
    holder.wait()
    assert waiter.stdout.readline() == "taken\n"


@pytest.mark.timeout(60)
def test_the_next_process_acquires_the_lane_only_after_its_release(start):
    holder = start(HOLDER, "alone")
    assert holder.stdout.readline() == "held\n"
    waiter = start(WAITER, "0")
    other = start(WAITER, "1")
    assert other.stdout.readline() == "taken\n"  # another lane, for which nobody waits
    assert waiter.poll() is None
    holder.stdin.write("x")
    holder.stdin.flush()
    assert waiter.stdout.readline() == "taken\n"
    assert holder.stdout.readline() == "given\n"


def test_releasing_a_lane_that_is_not_held_does_nothing():
    with tempfile.TemporaryFile() as file:
        Lane(file.fileno(), 0).release()

"""A process that is started for a job has a lower priority."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flare_runtime.processes.priority import lower_priority


@pytest.fixture
def process():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True) as started:
        yield started


def nice(process: int = 0) -> int:
    return os.getpriority(os.PRIO_PROCESS, process)


@pytest.mark.parametrize(("by", "found"), [(0, 0), (7, 7), (30, 19)])
def test_a_process_and_its_session_get_a_lower_priority(process, by, found):
    lower_priority(process.pid, by)
    assert nice(process.pid) == min(19, nice() + found)
    autogroup = Path(f"/proc/{process.pid}/autogroup")
    if autogroup.exists() and os.geteuid() == 0:  # others may set one in a tenth of a second, on the whole machine
        assert autogroup.read_text().split()[-1] == str(nice(process.pid))


def test_a_process_that_has_ended_is_not_an_error(process):
    process.kill()
    process.wait()
    lower_priority(process.pid, 7)

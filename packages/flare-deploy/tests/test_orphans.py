"""Processes of jobs whose daemon was killed: the next daemon ends those that have not ended by themselves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest

from flare_deploy.processes.job_process import LOCK, end_orphans
from flare_deploy.processes.lock_file import ends_within, holder_of
from flare_runtime.processes.scratch import remove_scratch

WORKS = """
    import os, socket, sys
    from flare_runtime.processes.scratch import make_scratch
    from flare_deploy.processes.lock_file import keep_from_children

    link = socket.socket(fileno=int(sys.argv[1]))
    keep_from_children(int(sys.argv[3]))
    make_scratch()
    forked = os.fork()
    if forked == 0:
        os.setsid()
        forked_twice = os.fork()
        if forked_twice:
            os._exit(os.waitstatus_to_exitcode(os.waitpid(forked_twice, 0)[1]))
        os.open(os.devnull, os.O_RDONLY)  # gets the number of what was closed, and is not closed by one more fork
        if (thrice := os.fork()) == 0:
            os.fstat(int(sys.argv[3]))
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(thrice, 0)[1])
        with open("started", "w") as file:
            file.write(f"{os.getppid()} {code}")
        with open("over") as file:
            file.read()
        os._exit(0)
    link.recv(1)
"""
"""Has a process of its own that outlives it, and waits for its daemon to end."""

DAEMON = """
    import os, sys
    from pathlib import Path
    from flare_deploy.processes.job_process import JobProcess
    from flare_transport import Cell

    folder = Path(sys.argv[1])
    process = JobProcess(
        "works", {}, plan_file=folder / "plan.json", cell=Cell("site-1"), peer="site-1.job",
        environment={"PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}, log=folder / "log.txt",
        ended=lambda code: None,
    )
    print(process.pid, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Of a job, whose process says over a pipe that it has started, and leaves one that ends at the end of another."""
    job = tmp_path / "jobs" / "one"
    job.mkdir(parents=True)
    (job / "works.py").write_text(textwrap.dedent(WORKS))
    for name in ("started", "over"):
        os.mkfifo(job / name)
    monkeypatch.chdir(job)
    return job


@pytest.fixture
def orphan(folder, request):
    """A process of a job, whose daemon was killed; if it should be, it was frozen before that."""
    command = [sys.executable, "-c", textwrap.dedent(DAEMON), str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as daemon:
        process = int(daemon.stdout.readline())
        _, code = (folder / "started").read_text().split()
        assert code == "0", "a descriptor was closed that was another one by then"
        if request.param == "frozen":
            os.kill(process, signal.SIGSTOP)
        daemon.kill()
    if request.param != "frozen":
        assert ends_within(process, 20)
    yield process
    (folder / "over").write_text("")
    remove_scratch(process)


def scratch_of(process: int) -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob(f"flare-{process}-*"))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("orphan", ["frozen"], indirect=True)
def test_one_that_was_frozen_is_killed_and_leaves_nothing(orphan, folder):
    assert holder_of(folder / LOCK) == orphan
    assert scratch_of(orphan)
    end_orphans(folder.parent)
    assert ends_within(orphan, 20)
    assert not scratch_of(orphan)
    assert not (folder / LOCK).exists()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("orphan", ["awake"], indirect=True)
def test_one_that_has_ended_by_itself_leaves_nothing(orphan, folder):
    assert holder_of(folder / LOCK) is None
    assert scratch_of(orphan)
    end_orphans(folder.parent)
    assert not scratch_of(orphan)
    assert not (folder / LOCK).exists()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("orphan", ["awake"], indirect=True)
def test_a_process_that_has_the_number_of_one_that_has_ended_is_left_alone(orphan, folder):
    (folder / LOCK).write_text(f"{os.getpid()}\n")
    mine = Path(tempfile.mkdtemp(prefix=f"flare-{os.getpid()}-"))
    end_orphans(folder.parent)
    assert mine.is_dir()
    assert not (folder / LOCK).exists()
    mine.rmdir()

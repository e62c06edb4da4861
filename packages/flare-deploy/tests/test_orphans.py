"""Processes of jobs whose daemon was killed: the next daemon kills those that have not exited by themselves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest

from flare_deploy.processes.job_process import LOCK, kill_orphans
from flare_deploy.processes.lock_file import exits_within, holder_of
from flare_runtime.processes.scratch import remove_scratch

WORKS = """
    import os, socket, sys
    from flare_runtime.processes.scratch import make_scratch
    from flare_deploy.processes.lock_file import close_in_children

    link = socket.socket(fileno=int(sys.argv[1]))
    close_in_children(int(sys.argv[3]))
    make_scratch()
    forked = os.fork()
    if forked == 0:
        os.setsid()
        forked_twice = os.fork()
        if forked_twice:
            os._exit(os.waitstatus_to_exitcode(os.waitpid(forked_twice, 0)[1]))
        os.open(os.devnull, os.O_RDONLY)  # reuses the number of the closed descriptor; another fork must not close it
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
"""A job's process that leaves a forked process behind, and waits for its daemon to end."""

DAEMON = """
    import os, sys
    from pathlib import Path
    from flare_deploy.processes.job_process import JobProcess
    from flare_transport import Cell

    folder = Path(sys.argv[1])
    os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), *sys.path])
    process = JobProcess(
        "works", "", plan_file=folder / "plan.json", cell=Cell("site-1"), peer="site-1.job",
        log=folder / "log.txt", ended=lambda code: None,
    )
    print(process.pid, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of a job, whose process reports its start over one pipe; its fork ends when another is closed."""
    job = tmp_path / "jobs" / "one"
    job.mkdir(parents=True)
    (job / "works.py").write_text(textwrap.dedent(WORKS))
    for name in ("started", "over"):
        os.mkfifo(job / name)
    monkeypatch.chdir(job)
    return job


@pytest.fixture
def orphan(folder, request):
    """A process of a job whose daemon was killed, and which was frozen before that if the parameter says so."""
    command = [sys.executable, "-c", textwrap.dedent(DAEMON), str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as daemon:
        process = int(daemon.stdout.readline())
        _, code = (folder / "started").read_text().split()
        assert code == "0", "a descriptor was closed whose number had been reused"
        if request.param == "frozen":
            os.kill(process, signal.SIGSTOP)
        daemon.kill()
    if request.param != "frozen":
        assert exits_within(process, 20)
    yield process
    (folder / "over").write_text("")
    remove_scratch(process)


def scratch_of(process: int) -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob(f"flare-{process}-*"))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("orphan", ["frozen"], indirect=True)
def test_a_frozen_process_is_killed_and_leaves_nothing(orphan, folder):
    assert holder_of(folder / LOCK) == orphan
    assert scratch_of(orphan)
    kill_orphans(folder.parent)
    assert exits_within(orphan, 20)
    assert not scratch_of(orphan)
    assert not (folder / LOCK).exists()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("orphan", ["awake"], indirect=True)
def test_a_process_that_has_exited_leaves_nothing(orphan, folder):
    assert holder_of(folder / LOCK) is None
    assert scratch_of(orphan)
    kill_orphans(folder.parent)
    assert not scratch_of(orphan)
    assert not (folder / LOCK).exists()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("orphan", ["awake"], indirect=True)
def test_another_process_with_a_reused_process_id_is_left_alone(orphan, folder):
    (folder / LOCK).write_text(f"{os.getpid()}\n")
    mine = Path(tempfile.mkdtemp(prefix=f"flare-{os.getpid()}-"))
    kill_orphans(folder.parent)
    assert mine.is_dir()
    assert not (folder / LOCK).exists()
    mine.rmdir()

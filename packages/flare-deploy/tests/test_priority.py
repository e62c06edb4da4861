"""Processes of jobs have a lower priority than the daemons."""

from __future__ import annotations

import os

from flare_deploy.processes.job_process import NICE, JobProcess
from flare_transport import Cell


def nice(process: int = 0) -> int:
    return os.getpriority(os.PRIO_PROCESS, process)


def test_a_process_of_a_job_is_nicer_than_its_daemon(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "waits.py").write_text("import socket, sys; socket.socket(fileno=int(sys.argv[1])).recv(1)")
    cell = Cell("site-1")
    process = JobProcess(
        "waits",
        "",
        plan_file=tmp_path / "plan.json",
        cell=cell,
        peer="site-1.job",
        log=tmp_path / "log.txt",
        ended=lambda code: None,
    )
    try:
        assert nice(process.pid) == min(19, nice() + NICE)
    finally:
        process.stop()
        cell.close()

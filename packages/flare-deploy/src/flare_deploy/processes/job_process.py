"""Processes that a daemon starts for a job: linked to it by a socket, noticed when they end, gone when it is gone."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from flare_core.files import naming
from flare_deploy.processes.lock_file import ChildLock, end_holder
from flare_runtime.processes.exit_codes import KILLED_SCRIPT, LOST_SERVER, NO_SERVER
from flare_runtime.processes.priority import give_way
from flare_runtime.processes.scratch import remove_scratch
from flare_transport import Cell, SocketLink

__all__ = ["JobProcess", "end_orphans", "exit_reason"]

logger = logging.getLogger(__name__)

ENDS = {
    LOST_SERVER: "ended, as it lost its connection to the server",
    KILLED_SCRIPT: "ended, as its script was killed by SIGKILL",
    NO_SERVER: "ended, as it could not connect to the server",
}

GRACE_S = 10.0

NICE = 10
"""How far a job's processes give way to its daemon and whatever else runs on the machine."""

LOCK = "process.lock"


class JobProcess:
    """One process of a job.

    Args:
        module: what it runs, ``python -m <module> <descriptor> <file> <lock descriptor>``.
        plan: what it is told; values that JSON has.
        plan_file: where that is written; beside it lies the process's lock file, by which :func:`end_orphans` finds it.
        cell: the daemon's.
        peer: the name of the process's cell.
        environment: variables to set.
        log: what the process prints before it has a log of its own.
        ended: told the exit code, negative for a signal, on a thread of its own.
    """

    def __init__(
        self,
        module: str,
        plan: Mapping[str, Any],
        *,
        plan_file: Path,
        cell: Cell,
        peer: str,
        environment: Mapping[str, str],
        log: Path,
        ended: Callable[[int], None],
    ) -> None:
        with naming(plan_file):
            plan_file.write_text(json.dumps(plan))
        self._lock = ChildLock(plan_file.with_name(LOCK))
        ours, theirs = socket.socketpair()
        passed = (theirs.fileno(), self._lock.descriptor)
        try:
            with log.open("ab") as output:
                self._process = subprocess.Popen(  # "-P": what lies where the daemon was started is no part of the job
                    [sys.executable, "-P", "-m", module, str(passed[0]), str(plan_file), str(passed[1])],
                    pass_fds=passed,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env={**os.environ, **environment},
                    start_new_session=True,
                )
        except BaseException:
            ours.close()
            self._lock.give_up()
            raise
        finally:
            theirs.close()
        self._lock.hand_to(self._process.pid)
        give_way(self._process.pid, NICE)
        self.peer = peer
        self._ended = ended
        self._gone = threading.Event()
        self._cell = cell
        self._link = SocketLink(peer, ours)
        threading.Thread(target=self._await_end, name=f"flare-process-{peer}", daemon=True).start()

    def attach(self) -> None:
        """Begin to hear from the process."""
        self._cell.attach(self._link)

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def stop(self) -> None:
        """Cut the process off, which ends it, or else by force; returns when it is gone."""
        self._link.close()
        self.end_within(GRACE_S)

    def end_within(self, grace_s: float) -> None:
        """Let the process end by itself, or else by force; returns when it is gone."""
        if not self._gone.wait(grace_s):
            self.kill()
            self._gone.wait()

    def kill(self) -> None:
        """End the process and all that it started at once."""
        with contextlib.suppress(ProcessLookupError):  # it has ended already
            os.killpg(self._process.pid, signal.SIGKILL)

    def _await_end(self) -> None:
        code = self._process.wait()
        with contextlib.suppress(ProcessLookupError, PermissionError):  # of another user, if started by sudo, say
            os.killpg(self._process.pid, signal.SIGKILL)  # what it has left behind
        try:
            remove_scratch(self._process.pid)
            self._lock.remove()
        except OSError as error:
            logger.warning("what a process has left cannot be removed pid=%s reason=%s", self._process.pid, error)
        self._link.close()
        self._gone.set()
        self._ended(code)


def end_orphans(jobs_folder: Path) -> None:
    """End what an earlier daemon, which was killed, has left of jobs in this folder, before they are begun again.

    A process ends by itself when its daemon is gone; but one that is frozen just then would go on later, beside the one
    that was started in its place, and both would write the same files.
    """
    for path in jobs_folder.glob(f"*/{LOCK}"):
        pid = end_holder(path)
        if pid is not None:
            remove_scratch(pid)


def exit_reason(code: int) -> str:
    """How a process ended, as people say it."""
    if code in ENDS:
        return ENDS[code]
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

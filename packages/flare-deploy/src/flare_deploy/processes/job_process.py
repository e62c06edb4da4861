"""Processes that a daemon starts for a job.

Each is connected to its daemon by a socket pair, and exits when the other end is closed, so it does not outlive its
daemon; one that was frozen when its daemon was killed is killed by the next daemon. A thread waits for the exit of each
process, and kills what that has left running.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from flare_core.files import naming
from flare_deploy.processes.lock_file import ChildLock, kill_holder
from flare_runtime.processes.exit_codes import KILLED_SCRIPT, LOST_SERVER, NO_SERVER
from flare_runtime.processes.priority import lower_priority
from flare_runtime.processes.scratch import remove_scratch
from flare_transport import Cell, SocketLink

logger = logging.getLogger(__name__)

_REASONS = {
    LOST_SERVER: "exited because it lost its connection to the server",
    KILLED_SCRIPT: "exited because its script was killed by SIGKILL",
    NO_SERVER: "exited because it could not connect to the server",
}

GRACE_S = 10.0  # within which a process exits by itself, before it is killed

NICE = 10
"""The niceness of a job's processes relative to their daemon, which must answer the network in time."""

LOCK = "process.lock"


class JobProcess:
    """One process of a job.

    Args:
        module: the module to run: ``python -m <module> <descriptor> <file> <lock descriptor>``.
        plan: the process's instructions, in JSON.
        plan_file: where they are written. The process's lock file is beside it, and :func:`kill_orphans` looks there.
        cell: the daemon's.
        peer: the name of the process's cell.
        log: receives what the process prints before it opens a log of its own.
        ended: called with the exit code, negative for a signal, on a thread of its own.
    """

    def __init__(
        self,
        module: str,
        plan: str,
        *,
        plan_file: Path,
        cell: Cell,
        peer: str,
        log: Path,
        ended: Callable[[int], None],
    ) -> None:
        with naming(plan_file):
            plan_file.write_text(plan)
        self._lock = ChildLock(plan_file.with_name(LOCK))
        ours, theirs = socket.socketpair()
        passed = (theirs.fileno(), self._lock.descriptor)
        try:
            with log.open("ab") as output:
                self._process = subprocess.Popen(  # "-P": no imports from the daemon's working folder
                    [sys.executable, "-P", "-m", module, str(passed[0]), str(plan_file), str(passed[1])],
                    pass_fds=passed,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
        except BaseException:
            ours.close()
            self._lock.discard()
            raise
        finally:
            theirs.close()
        self._lock.hold_for(self._process.pid)
        lower_priority(self._process.pid, NICE)
        self.peer = peer
        self._ended = ended
        self._gone = threading.Event()
        self._cell = cell
        self._link = SocketLink(peer, ours)
        threading.Thread(target=self._await_exit, name=f"flare-process-{peer}", daemon=True).start()

    def attach(self) -> None:
        """Start to receive messages from the process."""
        self._cell.attach(self._link)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def stop(self) -> None:
        """Close the connection to the process, so that it exits; kill it if it does not. Return when it is gone."""
        self._link.close()
        self.stop_within(GRACE_S)

    def stop_within(self, grace_s: float) -> None:
        """Give the process time to exit, then kill it. Return when it is gone."""
        if not self._gone.wait(grace_s):
            self.kill()
            self._gone.wait()

    def kill(self) -> None:
        """Kill the process and its process group at once."""
        with contextlib.suppress(ProcessLookupError):  # it has exited already
            os.killpg(self._process.pid, signal.SIGKILL)

    def _await_exit(self) -> None:
        code = self._process.wait()
        with contextlib.suppress(ProcessLookupError, PermissionError):  # another user's, if started with sudo
            os.killpg(self._process.pid, signal.SIGKILL)  # what it has started and not stopped
        try:
            remove_scratch(self._process.pid)
            self._lock.remove()
        except OSError as error:
            logger.warning("files of a process cannot be removed pid=%s reason=%s", self._process.pid, error)
        self._link.close()
        self._gone.set()
        self._ended(code)


def kill_orphans(jobs_folder: Path) -> None:
    """Kill the processes that a killed daemon has left of the jobs in this folder, before the jobs are restarted.

    A process exits by itself when its daemon is gone. But one that was frozen at that time would continue later, beside
    the one that has replaced it, and both would write the same files.
    """
    for path in jobs_folder.glob(f"*/{LOCK}"):
        pid = kill_holder(path)
        if pid is not None:
            remove_scratch(pid)


def exit_reason(code: int) -> str:
    """Describe how a process ended, for messages."""
    if code in _REASONS:
        return _REASONS[code]
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

"""Start and stop daemons: processes that run :mod:`flare_deploy.serve`.

A daemon holds its kit's lock file until it exits, so the file tells if one is running. It reports over a pipe from its
starter when it is ready, or why it cannot start. An owned daemon has a second pipe and stops when the other end is
closed, as it is when its owner dies.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

from flare_core import FlareError
from flare_deploy.processes.lock_file import exits_within, holder_of
from flare_runtime.system import IS_UNIX, NEEDS_UNIX

READY_VARIABLE, OWNER_VARIABLE = "FLARE_DAEMON_READY_FD", "FLARE_DAEMON_OWNER_FD"
STOP_S = 30.0
QUIET_S = 5.0  # before the reason is printed why a daemon is not ready yet
WAITS = "waits "


class DaemonError(FlareError):
    """A daemon could not be started; carries its message."""


class RunningDaemon:
    """A daemon that this process has started."""

    def __init__(self, process: subprocess.Popen[bytes], owner_pipe: int | None) -> None:
        self.process = process
        self._owner_pipe = owner_pipe
        self._is_stopping = False

    def ask_to_stop(self) -> None:
        """Ask the daemon to stop, and return at once."""
        if self._is_stopping:
            return
        self._is_stopping = True
        if self._owner_pipe is not None:
            os.close(self._owner_pipe)
            self._owner_pipe = None
        self.process.terminate()

    def stop(self) -> None:
        """Stop the daemon; return when it has ended."""
        self.ask_to_stop()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start_daemon(
    kind: str, folder: Path, *, owned: bool = False, environment: Mapping[str, str] | None = None
) -> RunningDaemon:
    """Start a daemon in the background and wait until it is ready.

    Args:
        kind: ``server``, or one of :mod:`flare_deploy.participants`, such as ``client``.
        folder: its kit.
        owned: stop it when this process ends, in whatever way.
        environment: variables to set.
    Raises:
        DaemonError: it exited before it was ready; carries its message.
    """
    if not IS_UNIX:
        raise DaemonError(f"to start the {kind} of {folder} {NEEDS_UNIX}")
    ready, theirs = os.pipe()
    watched, owner_pipe = os.pipe() if owned else (None, None)
    variables = {**os.environ, **(environment or {}), READY_VARIABLE: str(theirs)}
    passed = [theirs]
    if watched is not None:
        variables[OWNER_VARIABLE] = str(watched)
        passed.append(watched)
    with (folder / "daemon.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "flare_deploy.serve", kind, str(folder)],
            pass_fds=passed,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=variables,
            start_new_session=True,
        )
    for descriptor in passed:
        os.close(descriptor)
    with os.fdopen(ready, "rb") as pipe:
        report = _await_ready(pipe, f"the {kind} of {folder}")
    if report.startswith("ready"):
        return RunningDaemon(process, owner_pipe)
    code = process.wait()
    if owner_pipe is not None:
        os.close(owner_pipe)
    problem = report.removeprefix("error").strip().replace("\\n", "\n")
    raise DaemonError(problem or f"the {kind} of {folder} exited with code {code}; see {folder / 'daemon.log'}")


def _await_ready(pipe: IO[bytes], daemon: str) -> str:
    """Return a daemon's report that it is ready or has failed; print what it is waiting for if that takes long."""
    began, printed = time.monotonic(), ""
    while (report := pipe.readline().decode().strip()).startswith(WAITS):
        if report != printed and time.monotonic() > began + QUIET_S:
            printed = report
            print(f"{daemon} is waiting: {report.removeprefix(WAITS)}", file=sys.stderr, flush=True)
    return report


def lock_of(kind: str, folder: Path) -> Path:
    """Return the lock file of a daemon."""
    return folder / "state" / "lock" if kind == "server" else folder / "lock"


def pid_of(kind: str, folder: Path) -> int | None:
    """Return the process id of a running daemon; None if it is not running."""
    return holder_of(lock_of(kind, folder))


def stop_daemon(kind: str, folder: Path) -> bool:
    """Stop a daemon, whoever has started it, and wait for its end; return False if it was not running."""
    pid = pid_of(kind, folder)
    if pid is None:
        return False
    _terminate(pid)
    return True


def _terminate(pid: int) -> None:
    """Terminate a process, or kill it after a while; wait for its end where the system has ``pidfd_open``."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):  # it has just ended
            os.kill(pid, number)
        if exits_within(pid, STOP_S) or not hasattr(os, "pidfd_open"):
            return


def environment_for(threads: int) -> dict[str, str]:
    """Return variables that limit the threads of the math libraries in a daemon's jobs."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {name: os.environ.get(name, str(threads)) for name in names}

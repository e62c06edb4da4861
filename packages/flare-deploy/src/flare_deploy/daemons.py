"""Start and stop daemons: processes that run :mod:`flare_deploy.serve`.

A daemon holds its kit's lock file as long as it lives, so no list of processes is needed to know if one runs. Its
starter gives it a pipe, over which it says when it is ready, or why it cannot be; and may give it another one as a
leash: the daemon ends when nobody holds the other end any more.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from flare_core import FlareError
from flare_deploy.processes.lock_file import holder_of
from flare_runtime.system import IS_UNIX, NEEDS_UNIX

__all__ = ["DaemonError", "RunningDaemon", "lock_of", "pid_of", "start_daemon", "stop_daemon"]

READY_VARIABLE, LEASH_VARIABLE = "FLARE_DAEMON_READY_FD", "FLARE_DAEMON_LEASH_FD"
STOP_S = 30.0
TELL_S = 5.0  # how long a daemon may take to be ready before people are told what it waits for
WAITS = "waits "


class DaemonError(FlareError):
    """A server or a client could not be started; says what it said."""


class RunningDaemon:
    """A daemon that was started from here."""

    def __init__(self, process: subprocess.Popen[bytes], leash: int | None) -> None:
        self.process = process
        self._leash = leash
        self._is_asked = False

    def ask_to_stop(self) -> None:
        """Have it end, without waiting for that."""
        if self._is_asked:
            return
        self._is_asked = True
        if self._leash is not None:
            os.close(self._leash)
            self._leash = None
        self.process.terminate()

    def stop(self) -> None:
        """End it; returns when it has ended."""
        self.ask_to_stop()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start_daemon(
    kind: str, folder: Path, *, leashed: bool = False, environment: Mapping[str, str] | None = None
) -> RunningDaemon:
    """Start a daemon in the background and wait until it is ready.

    Args:
        kind: ``server``, or one of :mod:`flare_deploy.participants`, such as ``client``.
        folder: its kit.
        leashed: end it when this process ends, however that happens.
    Raises:
        DaemonError: it ended before it was ready; carries its message.
    """
    if not IS_UNIX:
        raise DaemonError(f"to start the {kind} of {folder} {NEEDS_UNIX}")
    ready, theirs = os.pipe()
    leash_read, leash = os.pipe() if leashed else (None, None)
    variables = {**os.environ, **(environment or {}), READY_VARIABLE: str(theirs)}
    passed = [theirs]
    if leash_read is not None:
        variables[LEASH_VARIABLE] = str(leash_read)
        passed.append(leash_read)
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
        said = _await_ready(pipe, f"the {kind} of {folder}")
    if said.startswith("ready"):
        return RunningDaemon(process, leash)
    code = process.wait()
    if leash is not None:
        os.close(leash)
    problem = said.removeprefix("error").strip().replace("\\n", "\n")
    raise DaemonError(problem or f"the {kind} of {folder} ended with exit code {code}; see {folder / 'daemon.log'}")


def _await_ready(pipe: IO[bytes], who: str) -> str:
    """Read what a daemon says when it is ready, or cannot be; tell people why it is not, if that takes long."""
    began, told = time.monotonic(), ""
    while (said := pipe.readline().decode().strip()).startswith(WAITS):
        if said != told and time.monotonic() > began + TELL_S:
            told = said
            print(f"{who} waits: {said.removeprefix(WAITS)}", file=sys.stderr, flush=True)
    return said


def lock_of(kind: str, folder: Path) -> Path:
    """The lock file of a daemon."""
    return folder / "state" / "lock" if kind == "server" else folder / "lock"


def pid_of(kind: str, folder: Path) -> int | None:
    """The process of a daemon that runs; None if it does not."""
    return holder_of(lock_of(kind, folder))


def stop_daemon(kind: str, folder: Path) -> bool:
    """End a daemon that anybody has started; false if none runs. Returns when it has ended."""
    pid = pid_of(kind, folder)
    if pid is None:
        return False
    end_process(pid)
    return True


def end_process(pid: int) -> None:
    """Ask a process to end, and make it after a while; returns when it has ended, where the system can tell."""
    if not hasattr(os, "pidfd_open"):
        return os.kill(pid, signal.SIGTERM)
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        for number in (signal.SIGTERM, signal.SIGKILL):
            os.kill(pid, number)
            if select.select([descriptor], [], [], STOP_S)[0]:
                return
    except ProcessLookupError:
        return
    finally:
        os.close(descriptor)


def environment_for(threads: int) -> dict[str, str]:
    """Variables that keep the maths libraries of a daemon's jobs to so many threads."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {name: os.environ.get(name, str(threads)) for name in names}

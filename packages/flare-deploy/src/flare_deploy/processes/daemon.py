"""Daemons as processes, ``python -m flare_deploy.processes.daemon server|client|relay <kit>``: starting and stopping.

A daemon holds its kit's lock file as long as it lives, so whether one runs needs no list of processes. Who starts one
gives it a pipe, over which it says when it is ready, or why it cannot be; and may give it another one as a leash: the
daemon ends when nobody holds the other end any more.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from flare_core import FlareError
from flare_deploy.processes.lock_file import holder_of
from flare_deploy.provision.kit import Kit
from flare_runtime.logs import log_to
from flare_runtime.system import IS_UNIX, NEEDS_UNIX

if TYPE_CHECKING:
    from flare_deploy.client.daemon import ClientDaemon
    from flare_deploy.relay.daemon import RelayDaemon

__all__ = ["DaemonError", "RunningDaemon", "lock_of", "pid_of", "serve", "start_daemon", "stop_daemon"]

READY_VARIABLE, LEASH_VARIABLE = "FLARE_DAEMON_READY_FD", "FLARE_DAEMON_LEASH_FD"
STOP_S = 30.0
TELL_S = 5.0  # how long a daemon may take to be ready before people are told what it waits for
WAITS = "waits "

logger = logging.getLogger(__name__)


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
        kind: ``server``, ``client`` or ``relay``.
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
            [sys.executable, "-P", "-m", "flare_deploy.processes.daemon", kind, str(folder)],
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


class _Stop:
    """Asked for by any thread or signal, waited for by one.

    The system may give a signal to any thread. Python runs the handler on the main thread, but does not wake it for
    that; so signals write into the pipe themselves.
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)

    def set_by(self, *signals: signal.Signals) -> None:
        """Have signals ask for it; called by the main thread."""
        signal.set_wakeup_fd(self._write)
        for number in signals:
            signal.signal(number, lambda *_: None)

    def set(self) -> None:
        os.write(self._write, b"x")

    def wait(self) -> None:
        os.read(self._read, 1)


def serve(kind: str, folder: Path) -> None:
    """Be a daemon until told to stop.

    Raises:
        FlareError: it cannot be, or not any more; says why.
    """
    if not IS_UNIX:
        raise DaemonError(f"to run a {kind} {NEEDS_UNIX}")
    stop = _Stop()
    stop.set_by(signal.SIGTERM, signal.SIGINT)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup has it ignored
        stop.set_by(signal.SIGHUP)  # its terminal was closed
    _watch_leash(stop)
    with log_to(folder / "log.txt", "INFO"):
        warning = Kit.load(folder, kind=kind).warning
        if warning is not None:
            logger.warning("%s", warning)
        if kind == "server":
            _serve_server(folder, stop)
        else:
            _serve_below(kind, folder, stop)


def _serve_server(folder: Path, stop: _Stop) -> None:
    from flare_deploy.server.daemon import ServerDaemon

    daemon = ServerDaemon(folder)
    try:
        _say(f"ready {daemon.listen()}")
        stop.wait()
    finally:
        daemon.close()


def _serve_below(kind: str, folder: Path, stop: _Stop) -> None:
    """Be a client or a relay, which connect to the server."""
    daemon = _client(folder) if kind == "client" else _relay(folder)
    problem: list[BaseException] = []

    def run() -> None:
        try:
            daemon.run(lambda: _say(f"ready {daemon.kit.info.address}"), _say_waiting)
        except BaseException as error:
            problem.append(error)
        stop.set()

    thread = threading.Thread(target=run, name=f"flare-{kind}", daemon=True)
    thread.start()
    try:
        stop.wait()
        daemon.stop()
        thread.join()
    finally:
        daemon.close()
    if problem:
        raise problem[0]


def _client(folder: Path) -> ClientDaemon:
    from flare_deploy.client.daemon import ClientDaemon

    return ClientDaemon(folder)


def _relay(folder: Path) -> RelayDaemon:
    from flare_deploy.relay.daemon import RelayDaemon

    return RelayDaemon(folder)


def _watch_leash(stop: _Stop) -> None:
    leash = os.environ.pop(LEASH_VARIABLE, None)
    if leash is None:
        return

    def watch() -> None:
        os.read(int(leash), 1)  # nothing is ever written: it returns at the end
        stop.set()

    threading.Thread(target=watch, name="flare-leash", daemon=True).start()


def _say(text: str) -> None:
    """Tell who has started this, once."""
    descriptor = os.environ.pop(READY_VARIABLE, None)
    if descriptor is not None:
        with suppress(BrokenPipeError), os.fdopen(int(descriptor), "wb") as pipe:  # who has started it may be gone
            pipe.write(text.replace("\n", "\\n").encode() + b"\n")


def _say_waiting(text: str) -> None:
    """Tell who has started this that it is not ready yet, and why."""
    descriptor = os.environ.get(READY_VARIABLE)
    if descriptor is not None:
        try:
            os.write(int(descriptor), f"{WAITS}{' '.join(text.split())}\n".encode())
        except BrokenPipeError:  # nobody waits any more
            os.close(int(os.environ.pop(READY_VARIABLE)))


def main(arguments: list[str]) -> int:
    """Serve; the exit code is 1 if that failed."""
    kind, folder = arguments
    try:
        serve(kind, Path(folder))
    except FlareError as error:
        print(f"error: {error}", file=sys.stderr)
        _say(f"error {error}")
        return 1
    except Exception as error:
        _say(f"error {type(error).__name__}: {error}")
        raise
    return 0


def environment_for(threads: int) -> dict[str, str]:
    """Variables that keep the maths libraries of a daemon's jobs to so many threads."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {name: os.environ.get(name, str(threads)) for name in names}


if __name__ == "__main__":
    code: Any = main(sys.argv[1:])
    sys.exit(code)

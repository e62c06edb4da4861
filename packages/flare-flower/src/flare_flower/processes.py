"""Flower's processes of one party, as the party's own process sees them: started, watched and killed through a host."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from flare_core import FlareError

logger = logging.getLogger(__name__)

RETRY_S = 1.0
"""How soon tasks are asked for again after an error."""

_QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",  # nothing in a federation calls home
    "FLWR_DISABLE_UPDATE_CHECK": "1",
}


class FlowerProcesses:
    """The processes of one party, below one host; see :mod:`flare_flower.host`. Thread-safe.

    Args:
        folder: the processes' working folder.
        home: Flower's own folder (``FLWR_HOME``), where it installs the app.
        log: the file to which their output is appended.
        on_ended: called on a thread when a process has ended, with its name, exit code and last output; also for the
            host itself, whose name is ``host``.
        environment: further variables.
    Raises:
        FlareError: the host cannot be started.
    """

    def __init__(
        self,
        folder: Path,
        home: Path,
        log: Path,
        on_ended: Callable[[str, int, str], None],
        environment: Mapping[str, str],
    ) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self._on_ended = on_ended
        self._lock = threading.Lock()
        self._is_stopped = False
        self._log = log
        self._log_start = log.stat().st_size if log.exists() else 0
        environment = {
            **os.environ,
            **_QUIET,
            **environment,
            "FLWR_HOME": str(home),
            **{name: _with_loopback(os.environ.get(name, "")) for name in ("NO_PROXY", "no_proxy")},
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
            "PYTHONUNBUFFERED": "1",
        }
        try:
            self._host = subprocess.Popen(
                [sys.executable, "-m", "flare_flower.host", str(log)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=folder,
                env=environment,
                start_new_session=True,  # so that one signal ends all of them
            )
        except OSError as error:
            raise FlareError(f"Flower's processes cannot be started: {error.strerror}") from error
        self._reader = threading.Thread(target=self._read, name="flare-flower-host", daemon=True)
        self._reader.start()

    def start(self, name: str, argv: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        """Start a program of Flower's under a name."""
        self._send({"start": name, "argv": list(argv), "env": dict(env or {})})

    def load(self, program: str, packages: Sequence[str] = ()) -> None:
        """Import a program that will be started later, and packages that it will need, while there is time."""
        self._send({"load": program, "packages": list(packages)})

    def acquire(self, address: str) -> None:
        """Ask a Runtime API for tasks, and start a process for each."""
        self._send({"acquire": address})

    def stop(self) -> None:
        """Kill all processes, and wait until they have ended; further calls do nothing."""
        with self._lock:
            was_stopped, self._is_stopped = self._is_stopped, True
        if not was_stopped:
            self._kill()
        if threading.current_thread() is not self._reader:
            self._reader.join()

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._host.pid, signal.SIGKILL)

    def _send(self, command: dict[str, Any]) -> None:
        with self._lock:
            if self._is_stopped:
                return
            assert self._host.stdin is not None
            try:
                self._host.stdin.write(json.dumps(command).encode() + b"\n")
                self._host.stdin.flush()
            except OSError:
                logger.warning("host of Flower's processes is gone command=%s", command)  # its end is reported

    def _read(self) -> None:
        assert self._host.stdout is not None
        assert self._host.stdin is not None
        with self._host.stdout as events:
            for line in events:
                self._note(json.loads(line))
        self._kill()  # what the host may have left, if it was killed
        code = self._host.wait()
        with self._lock:
            was_stopped, self._is_stopped = self._is_stopped, True
            with suppress(OSError):
                self._host.stdin.close()
        if not was_stopped:
            self._on_ended("host", code, self._tail())

    def _note(self, event: dict[str, Any]) -> None:
        if self._is_stopped:
            return
        match event:
            case {"event": "ended", "name": name, "code": code, "tail": tail}:
                logger.info("Flower process ended name=%s code=%s", name, code)
                self._on_ended(name, code, tail)
            case {"event": "started", "name": name, "pid": pid}:
                logger.info("Flower process started name=%s pid=%s", name, pid)
            case {"event": "not acquired", "address": address, "error": error}:
                logger.warning("tasks could not be acquired and are asked for again reason=%s", error)
                again = threading.Timer(RETRY_S, self.acquire, [address])
                again.daemon = True
                again.start()

    def _tail(self) -> str:
        with self._log.open("rb") as file:
            file.seek(max(self._log_start, self._log.stat().st_size - 4000))
            return file.read().decode(errors="replace").strip()


def _with_loopback(hosts: str) -> str:
    """Return a list of hosts that are reached without a proxy, with this machine in it."""
    return ",".join([*filter(None, hosts.split(",")), "127.0.0.1"])


class ReservedPort:
    """A free port of the loopback interface, kept free for a program that is about to listen on it.

    The system gives a port that is bound, though nobody listens on it, to no one who asks for any port; but a program
    that asks for this one with ``SO_REUSEADDR``, as servers do, gets it.
    """

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.number: int = self._socket.getsockname()[1]

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.number}"

    def close(self) -> None:
        self._socket.close()

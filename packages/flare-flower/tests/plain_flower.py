"""Flower's own deployment on the loopback interface: a SuperLink and SuperNodes, as its documentation starts them.

As a program it runs an app and prints the logs: ``python plain_flower.py APP FOLDER``.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class PlainRun:
    """What Flower's own deployment did: its log, the seconds from its start to its end, and its peak memory in MiB."""

    log: str
    seconds: float
    peak_mib: float


def run_plain(
    app: Path, folder: Path, *, nodes: int = 2, run_config: Mapping[str, object] | None = None, timeout_s: float = 300
) -> PlainRun:
    """Run an app with Flower's own programs, all of them started by this call."""
    folder.mkdir(parents=True, exist_ok=True)
    home = folder / "home"
    home.mkdir()
    environment = {
        **os.environ,
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "PATH": os.pathsep.join([str(BIN), os.environ.get("PATH", os.defpath)]),
    }
    link = _free_port()
    (home / "config.toml").write_text(f'[superlink.plain]\naddress = "127.0.0.1:{link}"\ninsecure = true\n')
    log = folder / "log.txt"
    started = time.monotonic()
    with log.open("w") as output, _group(output, folder, environment) as start, measured_peak() as peak:
        start(["flower-superlink", "--insecure", "--port", str(link), "--disable-runtime-dependency-installation"])
        for index in range(nodes):
            start(
                [
                    *("flower-supernode", "--insecure", "--superlink", f"127.0.0.1:{link}"),
                    *("--port", str(_free_port())),
                    *("--node-config", f"partition-id={index} num-partitions={nodes}"),
                ]
            )
        _await_port(link)
        command = [str(BIN / "flwr"), "run", str(app), "plain", "--stream"]
        if run_config:
            command += ["--run-config", " ".join(f"{key}={json.dumps(value)}" for key, value in run_config.items())]
        said = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout_s, check=True
        )
        seconds = time.monotonic() - started
    return PlainRun(said.stdout + said.stderr + log.read_text(), seconds, peak[0])


class PlainBeside:
    """A run of Flower's own deployment that goes on while tests do other things; it mostly sleeps.

    Args:
        app: the app's folder.
        folder: for its files; the ServerApp writes there.
        environment: further variables.
    """

    def __init__(self, app: Path, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        command = [sys.executable, __file__, str(app), str(folder)]
        self._process = subprocess.Popen(
            command, env={**os.environ, **(environment or {})}, stdout=subprocess.PIPE, text=True
        )

    def log(self) -> str:
        """Wait for the end of the run, which must be a success, and return what its processes printed."""
        printed, _ = self._process.communicate(timeout=300)
        assert self._process.returncode == 0, printed
        return printed

    def end(self) -> None:
        """End the run, if it goes on."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.communicate()


@contextmanager
def _group(output, folder: Path, environment: Mapping[str, str]) -> Iterator:
    started: list[subprocess.Popen] = []

    def start(command: Sequence[str]) -> None:
        started.append(
            subprocess.Popen(
                [str(BIN / command[0]), *command[1:]],
                cwd=folder,
                env=environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        )

    try:
        yield start
    finally:
        sessions = {process.pid for process in started}
        for pid, _ in _sessions_of(sessions):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in started:
            process.kill()
            process.wait()


def _sessions_of(sessions: set[int]) -> list[tuple[int, int]]:
    """Return the processes of those sessions, and of sessions that their processes have opened."""
    table = []
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = place.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        table.append((int(place.parent.name), int(fields[1]), int(fields[3])))  # pid, parent, session
    found = set(sessions)
    while more := {pid for pid, parent, session in table if (parent in found or session in found)} - found:
        found |= more
    return [(pid, session) for pid, _, session in table if pid in found]


@contextmanager
def measured_peak() -> Iterator[list[float]]:
    """Measure the largest sum of the proportional memory of this process's descendants, in MiB."""
    peak = [0.0]
    is_over = threading.Event()

    def measure() -> None:
        while not is_over.wait(0.25):
            peak[0] = max(peak[0], descendants_mib())

    thread = threading.Thread(target=measure, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        is_over.set()
        thread.join()


def descendants_mib() -> float:
    """Return the proportional memory of all processes below this one, in MiB."""
    total = 0
    for pid, _ in _sessions_of({os.getpid()}):
        if pid == os.getpid():
            continue
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
    return total / 1024


def _free_port() -> int:
    with socket.socket() as each:
        each.bind(("127.0.0.1", 0))
        return int(each.getsockname()[1])


def _await_port(port: int, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > until:
                raise
            threading.Event().wait(0.05)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start background jobs with it ignored
    sys.stdout.write(run_plain(Path(sys.argv[1]), Path(sys.argv[2])).log)

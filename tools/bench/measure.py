"""Run a command and measure the time, processor time and memory of all its processes."""

from __future__ import annotations

import ctypes
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

MIB = 1 << 20
SAMPLE_EVERY_S = 0.03
PR_SET_CHILD_SUBREAPER = 36


class BenchError(Exception):
    """A command failed or timed out; the message holds its output."""


@dataclass
class Measured:
    """The measurements of one run of a command.

    Attributes:
        wall: seconds from start to exit.
        cpu: seconds of processor time, user and system, of the command and all its descendants.
        memory: peak in bytes of the sum of all processes' proportional set sizes; 0 if not measured.
        peaks: peak proportional set size of each process in bytes, largest first.
        output: the command's output.
        commands: peak proportional set size by command line.
    """

    wall: float
    cpu: float
    memory: int
    peaks: list[int]
    output: str
    commands: dict[str, int] = field(default_factory=dict)

    def peak_of(self, what: str) -> int:
        """Return the largest proportional set size of a process whose command line contains ``what``."""
        return max((size for command, size in self.commands.items() if what in command), default=0)

    def printed(self, name: str) -> float:
        """Return the number after ``name`` on the last line of output that starts with it."""
        for line in reversed(self.output.splitlines()):
            if line.startswith(name + " "):
                return float(line.split()[1])
        raise BenchError(f"the command did not print {name!r}:\n{self.output}")


@dataclass
class _Sampler:
    """A thread that samples the memory of all descendants of this process until stopped.

    Sampling slows the measured processes down, so a run measures either time or memory.
    """

    memory: int = 0
    peaks: dict[int, int] = field(default_factory=dict)
    commands: dict[str, int] = field(default_factory=dict)
    done: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self.done.wait(SAMPLE_EVERY_S):
            # When a process ends, its shared pages pass to the others, so a sum taken meanwhile would count them twice.
            self.memory = max(self.memory, min(self._sum(), self._sum()))

    def _sum(self) -> int:
        total = 0
        for process in psutil.Process().children(recursive=True):
            size = proportional_set_size(process.pid)
            self.peaks[process.pid] = max(self.peaks.get(process.pid, 0), size)
            command = command_line(process.pid)
            self.commands[command] = max(self.commands.get(command, 0), size)
            total += size
        return total


def proportional_set_size(pid: int) -> int:
    """Return a process's proportional set size in bytes; 0 if it has just ended."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError, PermissionError):  # PermissionError for a zombie
        return 0
    return next((int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:")), 0)


def command_line(pid: int) -> str:
    """Return a process's command line; empty if it has just ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def measure(
    command: Sequence[str | Path], *, folder: Path, env: dict[str, str], weigh: bool = False, timeout: float = 900
) -> Measured:
    """Run ``command`` in ``folder`` until it and all its descendants have ended.

    Args:
        env: additional environment variables.
        weigh: measure memory; the times are then not valid.
        timeout: limit in seconds.

    Raises:
        BenchError: its exit code was not 0, or it ran longer than ``timeout``.
    """
    adopt_orphans()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    sampler = _Sampler()
    thread = threading.Thread(target=sampler.run)
    with tempfile.TemporaryFile("w+", errors="replace") as output:  # a pipe would need a reader
        began = time.monotonic()
        process = subprocess.Popen(
            [str(word) for word in command],
            cwd=folder,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        if weigh:
            thread.start()
        try:
            code: int | None = process.wait(timeout)
        except subprocess.TimeoutExpired:
            code = None
        wall = time.monotonic() - began
        sampler.done.set()
        if weigh:
            thread.join()
        reap_orphans()
        output.seek(0)
        text = output.read()
    if code != 0:
        ended = f"exit code {code}" if code is not None else f"still running after {timeout} s"
        raise BenchError(f"{ended}: {process.args}\n{text[-1500:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    peaks = sorted(sampler.peaks.values(), reverse=True)
    return Measured(wall, cpu, sampler.memory, peaks, text, sampler.commands)


def adopt_orphans() -> None:
    """Adopt processes whose parent has ended, so that their processor time counts."""
    if not sys.platform.startswith("linux"):
        raise BenchError("processor time and memory of all descendants can only be read on Linux; run it there")
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap_orphans() -> None:
    """Kill the processes that a command has left running, and wait for them."""
    for child in psutil.Process().children(recursive=True):
        child.kill()
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return

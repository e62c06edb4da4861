"""Random faults for tools/faults.py: kill, pause, stop or cut something, then recover from it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import psutil

from faults_network import FaultyNetwork, Tracker
from flare_deploy.daemons import DaemonError, RunningDaemon, start_daemon
from flare_deploy.poc import Poc
from holdings import Mark

KINDS = {
    "kill a job's process at a site": 4,
    "kill a job's process at the server": 2,
    "kill a script": 4,
    "kill a site's daemon": 3,
    "kill the server's daemon": 1,
    "pause a process": 4,
    "a site leaves": 2,
    "cut a connection": 4,
    "cut all connections": 1,
    "stall a connection": 2,
    "stall all connections": 1,
    "the server is stopped": 1,
    "the server's disk is full": 2,
    "the tracker stalls": 2,
}
"""The kinds of faults with their relative frequencies."""
COLOURS = {
    "kill": "#d33",
    "pause": "#e90",
    "leave": "#93c",
    "stop": "#93c",
    "cut": "#2a2",
    "stall": "#0aa",
    "full": "#740",
}
START_TRIES = 20
NO_LIMIT = -1
DISK_S = 6.0  # longest time that the disk is full
LATE_S = 5.0  # longest delay until the effects of a full disk are reported


@dataclass
class Federation:
    """A federation with restartable daemons behind a faulty network."""

    poc: Poc
    network: FaultyNetwork
    say: Callable[[str], None]
    tracker: Tracker
    daemons: dict[str, RunningDaemon] = field(default_factory=dict)
    full: list[list[float]] = field(default_factory=list)  # start and end of each time that the server's disk was full
    restarts: int = 0

    def kit(self, name: str) -> Path:
        """Return the kit of the server or a site."""
        return self.poc.project_folder / "server" if name == "server" else self.poc.folder / "sites" / name

    def start(self, name: str) -> None:
        """Start a daemon, and retry like a service manager if it gives up because nobody answers."""
        for _ in range(START_TRIES):
            try:
                kind = "server" if name == "server" else "client"
                self.daemons[name] = start_daemon(kind, self.kit(name), owned=True)
                return
            except DaemonError as error:
                self.say(f"{name} could not be started: {error}")
        raise RuntimeError(f"{name} could not be started {START_TRIES} times")

    def was_full(self, since: float) -> bool:
        """Return True if the server's disk was full at any time since ``since``."""
        return any(until + LATE_S > since for _, until in self.full)

    def fill_disk(self) -> None:
        """Stop the server's processes and their children from writing files, by a limit that needs no privileges.

        The only difference from a full disk is the error, "File too large" instead of "No space left on device".
        """
        self.full.append([time.time(), float("inf")])
        self._limit_files(0)

    def free_disk(self) -> None:
        """Allow the server's processes to write again."""
        self._limit_files(NO_LIMIT)
        self.full[-1][1] = time.time()

    def _limit_files(self, size: int) -> None:
        for found in (self._daemon, self._below):  # the daemon first, since new children inherit its limit
            for process in found("server"):
                try:
                    process.rlimit(psutil.RLIMIT_FSIZE, (size, NO_LIMIT))
                except psutil.NoSuchProcess:
                    continue

    def jobs_processes(self, name: str) -> list[psutil.Process]:
        """Return the job processes of a daemon."""
        return [each for each in self._below(name) if ".job_process" in " ".join(each.cmdline())]

    def scripts(self) -> list[psutil.Process]:
        """Return the processes of scripts that run outside their job processes."""
        found = [each for name in self.poc.sites for each in self._below(name)]
        return [each for each in found if any(word.endswith("client.py") for word in each.cmdline())]

    def processes(self) -> list[psutil.Process]:
        """Return all processes: daemons, jobs and scripts."""
        names = ("server", *self.poc.sites)
        return [each for name in names for each in (*self._daemon(name), *self._below(name))]

    def _daemon(self, name: str) -> list[psutil.Process]:
        try:
            return [psutil.Process(self.daemons[name].process.pid)]
        except psutil.NoSuchProcess:
            return []

    def _below(self, name: str) -> list[psutil.Process]:
        try:
            return [each for process in self._daemon(name) for each in process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []


class Faults:
    """An injector of faults, each drawn from the seed and its number, that runs until it is told to end.

    Attributes:
        marks: times of the faults, for the plot.
        counts: number of faults by kind.
        problems: errors during injection or recovery.
    """

    def __init__(self, federation: Federation, *, seed: int, every_s: float, kinds: list[str] | None = None) -> None:
        self._federation = federation
        self._seed = seed
        self._every_s = every_s
        self._weights = {kind: weight for kind, weight in KINDS.items() if not kinds or kind in kinds}
        self._over = threading.Event()
        self._busy: set[str] = set()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(32, thread_name_prefix="fault")
        self._began = time.monotonic()
        self.marks: list[Mark] = []
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []

    def run(self) -> None:
        """Inject faults until :meth:`end` is called, then wait for recovery and return."""
        number = 0
        while not self._over.wait(Random(f"{self._seed} pause {number}").expovariate(1 / self._every_s)):
            random = Random(f"{self._seed} fault {number}")
            kind = random.choices(list(self._weights), list(self._weights.values()))[0]
            self._pool.submit(self._inject, number, kind, random)
            number += 1
        self._pool.shutdown(wait=True)

    def end(self) -> None:
        """Stop injecting faults."""
        self._over.set()

    def _inject(self, number: int, kind: str, random: Random) -> None:
        try:
            what = self._do(kind, random)
        except psutil.NoSuchProcess:
            return  # it ended before the fault
        except Exception as error:
            self.problems.append(f"fault {number}, {kind}: {error!r}")
            return
        if what:
            self._federation.say(f"fault {number}: {kind}: {what}")

    def _note(self, kind: str) -> None:
        colour = next(colour for word, colour in COLOURS.items() if word in kind)
        self.marks.append(Mark((time.monotonic() - self._began) / 60, colour))
        self.counts[kind] += 1

    def _do(self, kind: str, random: Random) -> str:
        """Inject a fault and recover from it; return a description, or an empty string if it had no target."""
        federation, sites = self._federation, self._federation.poc.sites
        pause_s = random.uniform(0, 6)
        if "tracker" in kind:
            self._note(kind)
            federation.tracker.stall(is_cut=random.random() < 0.3)
            self._over.wait(3 * pause_s)
            federation.tracker.resume()
            return f"for {3 * pause_s:.1f} s"
        if "disk" in kind:
            return self._fill_disk(kind, min(pause_s, DISK_S))
        if kind in ("kill a site's daemon", "a site leaves", "kill the server's daemon", "the server is stopped"):
            name = "server" if "server" in kind else random.choice(sites)
            return self._restart(name, kind, pause_s if "kill" in kind else 2 * pause_s)
        if kind.startswith("cut"):
            self._note(kind)
            return f"{federation.network.cut(random, everybody='all' in kind)} connections"
        if kind.startswith("stall"):
            self._note(kind)
            count, resume = federation.network.stall(random, everybody="all" in kind)
            self._over.wait(2 * pause_s)
            resume()
            return f"{count} connections for {2 * pause_s:.1f} s"
        found = {
            "kill a job's process at a site": lambda: federation.jobs_processes(random.choice(sites)),
            "kill a job's process at the server": lambda: federation.jobs_processes("server"),
            "kill a script": federation.scripts,
            "pause a process": federation.processes,
        }[kind]()
        if not found:
            return ""
        process = random.choice(found)
        text = " ".join(Path(word).name for word in process.cmdline()[1:6])
        self._note(kind)
        if kind != "pause a process":
            process.kill()
            return f"{process.pid}, {text}"
        process.suspend()
        self._over.wait(pause_s)
        process.resume()
        return f"{process.pid} for {pause_s:.1f} s, {text}"

    def _fill_disk(self, kind: str, pause_s: float) -> str:
        with self._lock:
            if "server" in self._busy:
                return ""
            self._busy.add("server")
        try:
            self._note(kind)
            self._federation.fill_disk()
            self._over.wait(pause_s)
        finally:
            self._federation.free_disk()
            with self._lock:
                self._busy.discard("server")
        return f"for {pause_s:.1f} s"

    def _restart(self, name: str, kind: str, pause_s: float) -> str:
        with self._lock:
            if name in self._busy:
                return ""
            self._busy.add(name)
        try:
            self._note(kind)
            daemon = self._federation.daemons[name]
            os.kill(daemon.process.pid, signal.SIGKILL if kind.startswith("kill") else signal.SIGTERM)
            daemon.process.wait(60)
            daemon.stop()  # also if it ignores a signal
            self._over.wait(pause_s)
            self._federation.start(name)
            self._federation.restarts += 1
            return f"{name} for {pause_s:.1f} s"
        finally:
            with self._lock:
                self._busy.discard(name)

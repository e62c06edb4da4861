"""Stress a federation with random jobs while processes are killed or paused and connections are cut.

Usage: tools/faults.py [--minutes 60] [--seed 0] [--sites 6] [--at-once 3] [--every 4] [--plot faults.svg]

Every job must end as planned: finished, with the model, metrics and tables of the same job run without faults; or
failed for the planned reason; or aborted. Jobs and faults are drawn from the seed and printed. Exits with 1 if anything
is wrong, and then keeps the federation's folder.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from faults_injection import COLOURS, Faults, Federation
from faults_jobs import write_script
from faults_judge import Judge
from faults_network import HOST, FaultyNetwork, Tracker
from flare_deploy.daemons import environment_for
from flare_deploy.poc import Poc
from holdings import KINDS, Curve, Sample, measure, plot

SAMPLE_S = 5.0
END_S = 60.0  # time for all processes of jobs to end after the last job
LINK_GRACE_S = 10.0
LEAKED = {"threads": 24, "sockets": 3, "files": 8}  # allowed growth of a daemon


class Sampler:
    """A sampler of the daemons' resources; a restarted daemon begins a new curve."""

    def __init__(self, federation: Federation) -> None:
        self._federation = federation
        self._began = time.monotonic()
        self.curves: dict[tuple[str, int], Curve] = {}

    def run(self, over: threading.Event) -> None:
        while not over.wait(SAMPLE_S):
            self.take()

    def take(self) -> dict[str, Sample]:
        """Measure the running daemons."""
        found = {}
        for name, daemon in list(self._federation.daemons.items()):
            pid = daemon.process.pid
            try:
                sample = measure(psutil.Process(pid), (time.monotonic() - self._began) / 60)
            except (psutil.Error, OSError):
                continue  # killed and not yet restarted
            curve = self.curves.setdefault((name, pid), Curve("#0b62a4" if name == "server" else "#bbb"))
            curve.samples.append(sample)
            found[name] = sample
        return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/faults.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sites", type=int, default=6)
    parser.add_argument("--at-once", type=int, default=3, help="jobs that run at the same time")
    parser.add_argument("--every", type=float, default=4, help="mean seconds between faults")
    parser.add_argument("--plot", type=Path, default=Path("faults.svg"))
    parser.add_argument("--faults", nargs="*", help="only these kinds of faults")
    parser.add_argument("--jobs", nargs="*", help="only these kinds of jobs")
    parser.add_argument("--limit", type=float, default=600, help="seconds after which a job counts as hanging")
    options = parser.parse_args()
    options.plot.touch()  # fails now, not after an hour, where it cannot be written
    folder = Path(tempfile.mkdtemp(prefix="flare-faults-"))
    (folder / "tmp").mkdir()
    os.environ.update({**environment_for(1), "TMPDIR": str(folder / "tmp")})
    tempfile.tempdir = None  # makes tempfile read TMPDIR again
    problems = run(folder, options)
    if problems:
        print(f"\n{len(problems)} problems; the federation's folder is kept: {folder}")
        print("\n".join(f"  {problem}" for problem in problems))
        return 1
    shutil.rmtree(folder)
    print("nothing is wrong")
    return 0


def run(folder: Path, options: argparse.Namespace) -> list[str]:
    """Run jobs and faults; return the problems."""
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:7.1f} {text}", flush=True)

    federation = begin(folder, options.sites, say)
    sampler = Sampler(federation)
    first = sampler.take()
    faults = Faults(federation, seed=options.seed, every_s=options.every, kinds=options.faults)
    judge = Judge(federation, folder, write_script(folder), options)
    over = threading.Event()
    threads = [threading.Thread(target=faults.run), threading.Thread(target=sampler.run, args=(over,))]
    for thread in threads:
        thread.start()
    try:
        judge.run(began + 60 * options.minutes)
        faults.end()
        threads[0].join()
        judge.finish()
        problems = [*judge.problems, *faults.problems, *left_running(federation)]
        over.wait(LINK_GRACE_S + 5)  # until cut connections have been dropped
        last = sampler.take()
    finally:
        over.set()
        faults.end()
        federation.poc.stop()
        federation.network.close()
        federation.tracker.close()
        for daemon in federation.daemons.values():
            daemon.stop()
    problems += [*leaks(first, last), *left_behind(folder)]
    title = (
        f"{options.minutes:g} minutes, seed {options.seed}: {len(judge.results)} jobs, {faults.counts.total()} faults"
    )
    legend = [("server's daemon", "#0b62a4"), ("sites' daemons", "#999"), *COLOURS.items()]
    options.plot.write_text(plot(title, list(sampler.curves.values()), faults.marks, legend), encoding="utf-8")
    show(judge, faults, federation, first, last)
    return problems


def begin(folder: Path, sites: int, say: object) -> Federation:
    """Start a federation behind a faulty network."""
    listen = free_port()
    network = FaultyNetwork(listen)
    poc = Poc(folder / "poc")
    poc.prepare([f"site-{number}" for number in range(1, sites + 1)], port=network.port)
    settings = {"listen": f"grpc://{HOST}:{listen}", "link_grace_s": LINK_GRACE_S}
    (poc.project_folder / "server" / "local" / "server.json").write_text(json.dumps(settings))
    federation = Federation(poc, network, say, Tracker())  # type: ignore[arg-type]
    federation.start("server")
    with ThreadPoolExecutor(sites) as pool:
        list(pool.map(federation.start, poc.sites))
    return federation


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def left_running(federation: Federation) -> list[str]:
    """Return a problem for each job process that still runs after all jobs have ended."""
    _, alive = psutil.wait_procs(
        [each for name in ("server", *federation.poc.sites) for each in federation._below(name)], timeout=END_S
    )
    return [f"a process of a job still runs: {' '.join(each.cmdline())}" for each in alive]


def leaks(first: dict[str, Sample], last: dict[str, Sample]) -> list[str]:
    """Return a problem for each resource of an idle daemon that has grown."""
    return [
        f"{name} holds {getattr(sample, kind)} {kind}, and held {getattr(first[name], kind)} at first"
        for name, sample in last.items()
        for kind, more in LEAKED.items()
        if getattr(sample, kind) > getattr(first[name], kind) + more
    ]


def left_behind(folder: Path) -> list[str]:
    """Return a problem for each process and file left behind by the stopped federation."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if process.pid != os.getpid() and str(folder) in " ".join(process.info["cmdline"] or ()):
            found.append(f"a process is left: {process.pid} {' '.join(process.info['cmdline'])}")
    found += [f"a temporary file is left: {path}" for path in (folder / "tmp").iterdir()]
    for kept in ("app", "app.partial", "*.zip"):
        found += [f"left of a job that has ended: {path}" for path in folder.glob(f"poc/sites/*/jobs/*/{kept}")]
    return found


def show(
    judge: Judge, faults: Faults, federation: Federation, first: dict[str, Sample], last: dict[str, Sample]
) -> None:
    """Print the tables."""
    print(f"\n{'jobs':24}{'planned':10}{'finished':>9}{'failed':>8}{'aborted':>9}{'wrong':>7}")
    for key in sorted({(each.kind, each.planned) for each in judge.results}):
        of_kind = [each for each in judge.results if (each.kind, each.planned) == key]
        counts = [sum(each.state == state for each in of_kind) for state in ("finished", "failed", "aborted")]
        wrong = sum(bool(each.problems) for each in of_kind)
        print(f"{key[0]:24}{key[1]:10}{counts[0]:9}{counts[1]:8}{counts[2]:9}{wrong:7}")
    wrong = sum(bool(each.problems) for each in judge.results)
    print(f"{len(judge.results)} jobs, {wrong} wrong\n")
    for kind, count in sorted(faults.counts.items()):
        print(f"{kind:40}{count:6}")
    print(f"{faults.counts.total()} faults, {federation.restarts} restarts\n")
    print(f"{'held when idle: first -> last':30}" + "".join(f"{kind:>20}" for kind in KINDS))
    for name, sample in last.items():
        values = [f"{getattr(first[name], kind):.0f} -> {getattr(sample, kind):.0f}" for kind in KINDS]
        print(f"{name:30}" + "".join(f"{value:>20}" for value in values))


if __name__ == "__main__":
    sys.exit(main())

"""Compare the rounds of all recipes with federated averaging, taking turns on one machine.

Usage: compare.py FOLDER SITES TENSORS ITEMS ROUNDS LOTS [NAME ...]

The model has TENSORS arrays of ITEMS numbers each. LOTS lots of ROUNDS rounds are measured, of the named or all jobs.

Every job runs in its own processes and only during its turn; each lot has a new random order of turns. After its turn,
the algorithm's own arithmetic runs here alone, on arrays of the same shapes.
"""

import contextlib
import os
import random
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from arithmetic import Arithmetic

WARM = 2  # lots that are not counted, while processes start and allocate memory


@dataclass
class Job:
    """A job that waits for its turns."""

    process: subprocess.Popen
    go: int
    done: object
    seconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    own: list[float] = field(default_factory=list)

    def take_turn(self):
        before = processor_seconds(self.process.pid)
        os.write(self.go, b"g")
        line = self.done.readline()
        if not line:
            raise SystemExit(f"{self.process.args[2]} ended before its time, exit code {self.process.wait()}")
        self.seconds.append(float(line))
        self.processor.append(processor_seconds(self.process.pid) - before)


def processor_seconds(pid):
    """Return a job's processor time from the scheduler's statistics, which are finer than clock ticks."""
    root = psutil.Process(pid)
    total = 0
    for process in (root, *root.children(recursive=True)):
        for task in Path(f"/proc/{process.pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # the thread has just ended
                total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def start(name, folder, numbers):
    theirs, go = os.pipe()
    done, theirs_too = os.pipe()
    words = [sys.executable, "job.py", name, folder, *map(str, (*numbers, theirs, theirs_too))]
    # A swarm fetches even small models, because messages pass through the server, which must not see a model.
    env = {**os.environ, "FLARE_INLINE_BYTES": "0"} if name.endswith("fetched") else None
    process = subprocess.Popen(words, pass_fds=(theirs, theirs_too), stdout=subprocess.DEVNULL, env=env)
    os.close(theirs)
    os.close(theirs_too)
    return Job(process, go, os.fdopen(done))


folder = sys.argv[1]
sites, tensors, items, rounds, lots = map(int, sys.argv[2:7])
# The baselines, as numbers of rounds of other jobs. Recipes that move more arrays or need more exchanges with sites are
# compared with as many of FedAvg's: SCAFFOLD with a model of twice the size ("double"); Cyclic, whose sites take turns,
# with a round at one site ("one") for each; CrossSiteEval, which fetches each site's model and evaluates all models at
# all sites, with rounds of FedEval and rounds at one site; Swarm, in which one site aggregates and another fetches the
# result, with a round of FedAvg and two at one site.
BASELINES = {
    "again": {"fedavg": 1},
    "quorum": {"fedavg": 1},
    "sgd": {"fedavg": 1},
    "adam": {"fedavg": 1},
    "scaffold": {"double": 1},
    "cyclic": {"one": sites},
    "fedeval": {"fedavg": 1},
    "crosssite": {"fedeval": sites + 1, "one": sites},
    "swarm": {"fedavg-fetched": 1, "one-fetched": 2},
    "median": {"fedavg": 1},
    "trimmed": {"fedavg": 1},
    "krum": {"fedavg": 1},
}
names = sys.argv[7:] or list(BASELINES)
needed = dict.fromkeys([name for each in names for name in (*BASELINES[each], each)])
# One more lot than is measured, since the times of a job's threads vanish when it ends.
jobs = {name: start(name, folder, (sites, tensors, items, rounds, WARM + lots + 1)) for name in needed}
arithmetic = Arithmetic(sites, tensors, items)
order = random.Random(0)
for _ in range(lots + WARM):
    for name in order.sample(list(jobs), len(jobs)):
        jobs[name].take_turn()
        work = getattr(arithmetic, name, None)
        began = time.thread_time()  # elapsed time would include other work on the machine
        for _ in range(rounds if work else 0):
            work()
        jobs[name].own.append(time.thread_time() - began if work else 0.0)
for job in jobs.values():
    os.write(job.go, b"g")
for job in jobs.values():
    if job.process.wait():
        raise SystemExit(f"{job.process.args[2]} failed")


def by_round(values):
    return [value / rounds for value in values[WARM:]]


for name in needed:
    print(f"{name}.round {statistics.median(by_round(jobs[name].seconds)):.9f}")
for name in names:
    job = jobs[name]
    taken, own = by_round(job.seconds), by_round(job.own)
    parts = [(by_round(jobs[each].seconds), times) for each, times in BASELINES[name].items()]
    beside = [sum(times * values[lot] for values, times in parts) for lot in range(lots)]
    ratios = [(a - b) / c for a, b, c in zip(taken, own, beside, strict=True)]
    worked = statistics.median(by_round(job.processor))
    worked_beside = sum(
        times * statistics.median(by_round(jobs[each].processor)) for each, times in BASELINES[name].items()
    )
    print(f"{name}.own {statistics.median(own):.9f}")
    print(f"{name}.baseline {statistics.median(beside):.9f}")
    print(f"{name}.ratio {statistics.median(ratios):.3f}")
    low, _, high = statistics.quantiles(ratios, n=4)
    print(f"{name}.low {low:.3f}")
    print(f"{name}.high {high:.3f}")
    print(f"{name}.processor {(worked - statistics.median(own)) / worked_beside:.3f}")

"""The promises of federated trees, beside XGBoost alone on the rows of all sites with as many threads in all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from measure import MIB, Measured
from runner import HERE, Row, Runner, median, spread

TREES = HERE / "trees"
SITES = 2
ROUNDS = 50
ROWS = 100_000
MANY_ROWS, NO_ROWS, FEW_ROUNDS = 1_000_000, 2_000, 5
THREADS = max(SITES, len(os.sched_getaffinity(0)))
NVFLARE = "nvflare-2.7.2"


@dataclass(frozen=True)
class Kind:
    """A kind of federated training.

    Attributes:
        what: its name in the table.
        kind: its first two arguments of flare_job.py.
        most: the promised ratio.
        beside: the work that the promise compares it with.
    """

    what: str
    kind: tuple[str, str]
    most: float
    beside: str = "plain"

    @property
    def took(self) -> Callable[[Measured], float]:
        """The seconds of a run: without the daemons' start in PocEnv, from shell to exit elsewhere."""
        return (lambda measured: measured.printed("run")) if self.kind[1] == "poc" else (lambda measured: measured.wall)


KINDS = {
    "horizontal": Kind("horizontal", ("horizontal", "sim"), 1.5),
    "masked": Kind("horizontal, masked", ("horizontal-masked", "sim"), 2, "horizontal"),
    "poc": Kind("horizontal in PocEnv", ("horizontal", "poc"), 3),
    "vertical": Kind("vertical", ("vertical", "sim"), 3),
    "vertical-masked": Kind("vertical, masked", ("vertical-masked", "sim"), 50),
}
NAMES = {"plain": "plain XGBoost", "horizontal": "unmasked"}


def trees(runner: Runner) -> Iterator[Row]:
    """Trees of two sites, 100,000 rows of 28 features, depth 6, 50 rounds, against XGBoost on all rows in one place."""
    runner.run("rows", TREES / "files.py", runner.folder, ROWS, MANY_ROWS, NO_ROWS, cwd=TREES)
    for name in KINDS:  # so that numba's compiled kernels are in its cache
        _flare(runner, name, rounds=1)
    laps = [
        {
            "plain": _plain(runner, THREADS),
            "one thread": _plain(runner, 1),
            **{name: _flare(runner, name) for name in KINDS if lap == 0 or name != "vertical-masked"},
        }
        for lap in range(runner.repeat)
    ]
    peer = _nvflare(runner)
    auc = _auc(runner, "plain")
    for name, kind in KINDS.items():
        yield from _times(name, kind, laps, peer if name == "horizontal" else None)
        own = _auc(runner, "-".join(kind.kind))
        yield Row(
            f"{kind.what}: AUC of {ROUNDS} trees on held-out rows",
            {"flare": f"{own:.5f}", "baseline": f"{NAMES['plain']} {auc:.5f}", "ratio": f"{own - auc:+.5f}"},
            "within 0.001",
            abs(own - auc) <= 0.001,
        )
    yield _memory(runner)


def _times(name: str, kind: Kind, laps: list[dict[str, Measured]], peer: Measured | None) -> Iterator[Row]:
    laps = [lap for lap in laps if name in lap]
    walls = [(kind.took(lap[name]), lap[kind.beside].wall) for lap in laps]
    ratios = [ours / other for ours, other in walls]
    yield Row(
        f"{kind.what}: {'time of the job' if kind.kind[1] == 'poc' else 'from shell to exit'}",
        {
            "flare": f"{median([ours for ours, _ in walls]):.1f} s",
            "baseline": f"{NAMES[kind.beside]} {median([other for _, other in walls]):.1f} s",
            "ratio": spread(ratios),
            **({NVFLARE: f"{peer.wall:.1f} s"} if peer else {}),
        },
        f"≤ {kind.most:g} × {NAMES[kind.beside]}",
        median(ratios) <= kind.most,
    )
    # XGBoost's threads burn processor time while they wait for each other, so one thread is the stricter baseline.
    beside, what = ("one thread", "plain XGBoost, 1 thread,") if kind.beside == "plain" else (kind.beside, "unmasked")
    cpu = [(lap[name].cpu, lap[beside].cpu) for lap in laps]
    yield Row(
        f"{kind.what}: processor time of all processes",
        {
            "flare": f"{median([ours for ours, _ in cpu]):.1f} s",
            "baseline": f"{what} {median([other for _, other in cpu]):.1f} s",
            "ratio": spread([ours / other for ours, other in cpu]),
            **({NVFLARE: f"{peer.cpu:.1f} s"} if peer else {}),
        },
    )
    runs = [(lap[name].printed("run"), lap["plain"].printed("loop")) for lap in laps]
    yield Row(
        f"{kind.what}: the run, its processes' start included",
        {
            "flare": f"{median([ours for ours, _ in runs]):.1f} s",
            "baseline": f"plain XGBoost without its start {median([other for _, other in runs]):.1f} s",
            "ratio": spread([ours / other for ours, other in runs]),
        },
    )


def _memory(runner: Runner) -> Row:
    """The largest site's memory, beside XGBoost's with as many rows; then both without what hardly any rows take."""
    sites, plains = zip(*(_weighed(runner, count) for count in (MANY_ROWS, NO_ROWS)), strict=True)
    beyond = (sites[0] - sites[1]) / (plains[0] - plains[1])
    return Row(
        f"horizontal, {MANY_ROWS:,} rows, {FEW_ROUNDS} rounds: memory of the largest site",
        {
            "flare": f"{sites[0] / MIB:.0f} MiB, with {NO_ROWS:,} rows {sites[1] / MIB:.0f} MiB",
            "baseline": f"plain XGBoost with half the rows {plains[0] / MIB:.0f} MiB, {plains[1] / MIB:.0f} MiB",
            "ratio": f"{sites[0] / plains[0]:.2f}; of the differences {beyond:.2f}",
        },
        "≤ 1.5 × plain XGBoost with a site's rows",
        sites[0] <= 1.5 * plains[0],
    )


def _weighed(runner: Runner, count: int) -> tuple[int, int]:
    """The memory of the largest of the federation's processes, which is a site, and of XGBoost with its rows."""
    ours = _flare(runner, "horizontal", count, FEW_ROUNDS, weigh=True)
    plain = _plain(runner, THREADS // SITES, count, FEW_ROUNDS, share=SITES, weigh=True)
    return ours.peaks[0], plain.memory


def _flare(runner: Runner, name: str, count: int = ROWS, rounds: int = ROUNDS, *, weigh: bool = False) -> Measured:
    work = (*KINDS[name].kind, runner.folder, count, THREADS // SITES, rounds)
    label = f"flare, {KINDS[name].what}, {count:,} rows, {rounds} rounds"
    return runner.run(label, TREES / "flare_job.py", *work, cwd=TREES, weigh=weigh)


def _plain(
    runner: Runner, threads: int, count: int = ROWS, rounds: int = ROUNDS, *, share: int = 1, weigh: bool = False
) -> Measured:
    label = f"XGBoost, {count // share:,} rows, {rounds} rounds, threads: {threads}"
    work = (runner.folder, count, threads, rounds, share)
    return runner.run(label, TREES / "plain.py", *work, cwd=TREES, weigh=weigh)


def _nvflare(runner: Runner) -> Measured | None:
    work = (runner.folder / NVFLARE, runner.folder, ROWS, THREADS // SITES, ROUNDS)
    return runner.in_peer(NVFLARE, "horizontal", TREES / "nvflare_job.py", *work, cwd=TREES)


def _auc(runner: Runner, model: str) -> float:
    path = runner.folder / f"{model}.json"
    return runner.run(f"AUC, {model}", TREES / "auc.py", runner.folder, path, cwd=TREES).printed("auc")


SUITES = {"xgb": trees}

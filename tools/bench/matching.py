"""The promises of private set intersection, beside another library in one process."""

from __future__ import annotations

from collections.abc import Iterator

from measure import MIB, Measured
from runner import HERE, Row, Runner, median, spread

PSI = HERE / "psi"
COUNT, PEERS_COUNT = 1_000_000, 100_000
SCALE = COUNT // PEERS_COUNT
MB = 1_000_000
PEER = "openmined-psi-2.0.6"


def psi(runner: Runner) -> Iterator[Row]:
    """Two sites with a million ids each, of which they share half; the other library with 100,000, times ten."""
    for count in (COUNT, PEERS_COUNT):
        runner.run(f"ids, {count:,}", PSI / "files.py", runner.folder, count, cwd=PSI)
    _flare(runner, PEERS_COUNT)  # so that the kernels are in Numba's cache
    laps = []
    for _ in range(runner.repeat):
        ours = _flare(runner, COUNT)
        theirs = runner.in_peer(PEER, f"{PEERS_COUNT:,}", PSI / "openmined.py", PEERS_COUNT, cwd=PSI)
        laps.append((ours, theirs))
    runner.run("check", PSI / "check.py", runner.folder, COUNT, cwd=PSI)
    what = f"intersection of {COUNT:,} and {COUNT:,} ids"
    pairs = [(ours.printed("run"), SCALE * theirs.printed("work")) for ours, theirs in laps if theirs]
    ratios = [theirs / ours for ours, theirs in pairs]
    yield Row(
        f"{what}: the run",
        {"flare": f"{median([ours.printed('run') for ours, _ in laps]):.1f} s"}
        | ({PEER: f"{median([theirs for _, theirs in pairs]):.1f} s", "ratio": spread(ratios)} if ratios else {}),
        f"≥ 4 × faster than {PEER}" if ratios else "",
        median(ratios) >= 4 if ratios else None,
    )
    processor = [SCALE * theirs.printed("processor") for _, theirs in laps if theirs]
    yield Row(
        f"{what}: processor time of all processes",
        {"flare": f"{median([ours.cpu for ours, _ in laps]):.1f} s"}
        | ({PEER: f"{median(processor):.1f} s"} if processor else {}),
    )
    largest = _flare(runner, COUNT, weigh=True).peaks[0]
    yield Row(
        f"{what}: memory of the largest process",
        {"flare": f"{largest / MIB:.0f} MiB"},
        "≤ 300 MB",
        largest <= 300 * MB,
    )
    sent, received = laps[0][0].printed("sent"), laps[0][0].printed("received")
    yield Row(
        f"{what}: bytes of an id, sent and received by a site",
        {"flare": f"{sent:.0f} B, {received:.0f} B"},
        "≤ 80 B",
        max(sent, received) <= 80,
    )


def _flare(runner: Runner, count: int, *, weigh: bool = False) -> Measured:
    return runner.run(f"flare, {count:,}", PSI / "flare_job.py", runner.folder, count, cwd=PSI, weigh=weigh)


SUITES = {"psi": psi}

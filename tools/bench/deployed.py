"""The promises for federations of separate processes on this machine, connected like real sites."""

from __future__ import annotations

from collections.abc import Iterator

from measure import MIB, Measured
from runner import Row, Runner, median, spread
from suites import ADDING
from transfer import CLIENTS, LINKS, ROUNDS, bare_interpreter

SMALL_ROUNDS = 2000


def rounds(runner: Runner) -> Iterator[Row]:
    """Rounds per second of ten numbers over mTLS, each saved to disk."""
    found = []
    for _ in range(runner.repeat):
        measured = _adding(runner, "ten numbers", 2, SMALL_ROUNDS, 0)
        found.append(SMALL_ROUNDS / measured.printed("run"))
    yield Row(
        f"10 numbers, 2 clients, {SMALL_ROUNDS} rounds over mTLS on loopback",
        {"flare": f"{median(found):.0f} rounds/s", "ratio": spread(found)},
        "≥ 200 rounds/s",
        median(found) >= 200,
    )


def deployed(runner: Runner) -> Iterator[Row]:
    """A large model between processes with kits: PocEnv."""
    mib = 512
    what = f"{mib} MiB model in PocEnv, {CLIENTS} clients, {ROUNDS} rounds"
    work = (CLIENTS, ROUNDS, mib, "mtls", runner.folder)
    pairs = runner.pairs(
        lambda: _adding(runner, f"PocEnv, {mib} MiB", CLIENTS, ROUNDS, mib),
        lambda: runner.run("bare gRPC", LINKS / "bare_models.py", *work, cwd=LINKS),
    )
    assert all(ours.printed("first") == bare.printed("first") == ROUNDS for ours, bare in pairs)
    ratios = [ours.printed("run") / bare.printed("loop") for ours, bare in pairs]
    yield Row(
        f"{what}: time of the job",
        {
            "flare": f"{median([ours.printed('run') for ours, _ in pairs]):.1f} s",
            "baseline": f"bare mTLS gRPC streams {median([bare.printed('loop') for _, bare in pairs]):.1f} s",
            "ratio": spread(ratios),
        },
        "≤ 2 × bare mTLS gRPC streams",
        median(ratios) <= 2,
    )
    bare = bare_interpreter(runner)
    weighed = _adding(runner, f"PocEnv, {mib} MiB", CLIENTS, ROUNDS, mib, weigh=True)
    for role, size, limit in (
        ("server's job", weighed.peak_of("server.job_process"), 2.2),
        ("largest client's job", weighed.peak_of("client.job_process"), 1.25),
    ):
        size -= bare
        yield Row(
            f"{what}: memory of the {role}, beyond a bare interpreter",
            {"flare": f"{size / MIB:.0f} MiB", "ratio": f"{size / MIB / mib:.2f} × model"},
            f"≤ {limit} × model",
            size <= limit * mib * MIB,
        )
    daemons = [weighed.peak_of("serve server"), weighed.peak_of("serve client"), weighed.peak_of("flare_job.py")]
    yield Row(
        f"{what}: memory of the server's daemon, the largest client's, and who has submitted the job",
        {"flare": ", ".join(f"{size / MIB:.0f} MiB" for size in daemons)},
    )


def _adding(runner: Runner, label: str, clients: int, count: int, mib: int, *, weigh: bool = False) -> Measured:
    script = ADDING / "flare_job.py"
    return runner.run(label, script, clients, count, mib, 0, runner.folder, "poc", cwd=ADDING, weigh=weigh)


def help_text(runner: Runner) -> Iterator[Row]:
    """The command line prints its help without a noticeable delay."""
    walls = [runner.run("flare --help", "-m", "flare_deploy.cli", "--help").wall for _ in range(runner.repeat + 1)]
    yield Row(
        "flare --help",
        {"flare": f"{median(walls[1:]):.2f} s", "ratio": spread(walls[1:])},
        "≤ 0.3 s",
        median(walls[1:]) <= 0.3,
    )


SUITES = {"help": help_text, "deployed-rounds": rounds, "deployed": deployed}

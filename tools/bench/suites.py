"""The promises of the simulator, one function per suite: the work, its baseline, and the condition of the promise."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from measure import MIB, Measured
from runner import HERE, ROOT, Row, Runner, median, spread

MLP, ADDING = HERE / "mlp", HERE / "adding"
GIB = 1 << 30
NVFLARES = ("nvflare-2.7.2", "nvflare-newest")
FLOWER = "flwr-1.42.0"


def overhead(runner: Runner) -> Iterator[Row]:
    """A simulation costs little more than a plain loop."""
    runner.run("digits", MLP / "digits.py", runner.folder / "digits.npy")
    for clients in (8, 32):
        for mode in ("own", "shared"):
            yield from _overhead(runner, clients, mode)
    yield from _overhead(runner, 100)
    yield from _overhead(replace(runner, repeat=max(1, runner.repeat // 5)), 1000)


_EXTRA_S = {(8, "own"): 1.0, (8, "shared"): 0.5}
"""Processor time in seconds that a run may take beyond the plain loop, by number of clients and process sharing."""


def _overhead(runner: Runner, clients: int, mode: str = "") -> Iterator[Row]:
    what = f"{clients} clients × 10 rounds, MLP{mode and f', {mode} processes'}"
    pairs = runner.pairs(lambda: _flare_mlp(runner, clients, mode), lambda: _plain_mlp(runner, clients))
    cpu = [(ours.cpu, plain.cpu) for ours, plain in pairs]
    extra, ratio = median([a - b for a, b in cpu]), median([a / b for a, b in cpu])
    allowed = _EXTRA_S.get((clients, mode))
    yield Row(
        f"{what}: processor time",
        {
            "flare": f"{median([a for a, _ in cpu]):.1f} s",
            "baseline": f"plain loop {median([b for _, b in cpu]):.1f} s",
            "ratio": f"{extra:+.2f} s" if mode else spread([a / b for a, b in cpu]),
            **_peers(runner, clients, lambda measured: f"{measured.cpu:.1f} s"),
        },
        f"≤ plain loop + {allowed:g} s" if allowed else "" if mode else "≤ 1.15 × plain loop",
        extra <= allowed if allowed else None if mode else ratio <= 1.15,
    )
    wall = [(ours.wall, plain.wall) for ours, plain in pairs]
    yield Row(
        f"{what}: wall time",
        {
            "flare": f"{median([a for a, _ in wall]):.1f} s",
            "baseline": f"plain loop {median([b for _, b in wall]):.1f} s",
            "ratio": spread([a / b for a, b in wall]),
            **_peers(runner, clients, lambda measured: f"{measured.wall:.1f} s"),
        },
    )
    accuracies = [(ours.printed("accuracy"), plain.printed("accuracy")) for ours, plain in pairs]
    yield Row(
        f"{what}: accuracy",
        {"flare": f"{accuracies[0][0]:.4f}", "baseline": f"plain loop {accuracies[0][1]:.4f}"},
        "the same",
        all(ours == plain for ours, plain in accuracies),
    )
    ours, plain = _flare_mlp(runner, clients, mode, weigh=True), _plain_mlp(runner, clients, weigh=True)
    promise, most = {
        (8, "own"): ("≤ 2 × plain loop", 2 * plain.memory),
        (100, ""): ("≤ 1.3 × plain loop", 1.3 * plain.memory),
        (1000, ""): ("≤ 4 GiB", 4 * GIB),
    }.get((clients, mode), ("", 0))
    yield Row(
        f"{what}: memory of all processes",
        {
            "flare": f"{ours.memory / MIB:.0f} MiB",
            "baseline": f"plain loop {plain.memory / MIB:.0f} MiB",
            "ratio": f"{ours.memory / plain.memory:.2f}",
            **_peers(runner, clients, lambda measured: f"{measured.memory / MIB:.0f} MiB"),
        },
        promise,
        ours.memory <= most if promise else None,
    )


_measured_peers: dict[tuple[str, int], Measured | None] = {}


def _peers(runner: Runner, clients: int, figure: Callable[[Measured], str]) -> dict[str, str]:
    """The same work in other systems, measured once, with only as many clients as they can run here."""
    figures = {}
    for peer in (*NVFLARES, FLOWER):
        if clients > (8 if peer in NVFLARES else 100):
            continue
        if (peer, clients) not in _measured_peers:
            script = "flower.py" if peer == FLOWER else "nvflare_job.py"
            _measured_peers[peer, clients] = runner.in_peer(
                peer, f"{clients} clients", MLP / script, clients, runner.folder / peer, cwd=MLP, weigh=True
            )
        measured = _measured_peers[peer, clients]
        if measured is not None:
            figures[peer] = figure(measured)
    return figures


def _flare_mlp(runner: Runner, clients: int, mode: str, *, weigh: bool = False) -> Measured:
    command = (MLP / "flare_job.py", clients, runner.folder, *([mode] if mode else []))
    return runner.run(f"flare, {clients} clients{mode and f', {mode} processes'}", *command, cwd=MLP, weigh=weigh)


def _plain_mlp(runner: Runner, clients: int, *, weigh: bool = False) -> Measured:
    return runner.run(f"plain loop, {clients} clients", MLP / "plain.py", clients, cwd=MLP, weigh=weigh)


def rounds(runner: Runner) -> Iterator[Row]:
    """Rounds without work: 2 clients, 10 numbers."""
    few, many = 500, 5500
    rates, bare = [], []
    for _ in range(runner.repeat):
        short, long = (adding(runner, 2, count, 0) for count in (few, many))
        rates.append((many - few) / (long.wall - short.wall))
        bare.append(many / runner.run("bare turns", ADDING / "bare_turns.py", many).printed("loop"))
    figures = {
        "flare": f"{median(rates):.0f}/s",
        "baseline": f"threads without a framework {median(bare):.0f}/s",
    }
    for peer, count in ((NVFLARES[0], 5), (NVFLARES[1], 5), (FLOWER, 10)):
        short = peer_adding(runner, peer, 2, count, 0)
        long = peer_adding(runner, peer, 2, 3 * count, 0)
        if short is not None and long is not None:
            figures[peer] = f"{2 * count / (long.wall - short.wall):.2f}/s"
    yield Row("2 clients × 10 numbers: rounds per second, marginal", figures, "≥ 1,500/s", median(rates) >= 1500)


def startup(runner: Runner) -> Iterator[Row]:
    """The time from one shell prompt to the next."""
    with tempfile.TemporaryDirectory() as folder:
        example = Path(folder, "hello-np")
        shutil.copytree(ROOT / "examples" / "hello-world" / "hello-np", example)
        walls = [runner.run("hello-np", "job.py", cwd=example).wall for _ in range(runner.repeat)]
    figures = {"flare": f"{spread(walls)} s"}
    for peer in (*NVFLARES, FLOWER):
        measured = peer_adding(runner, peer, 2, 5, 0)
        if measured is not None:
            figures[peer] = f"{measured.wall:.1f} s (2 clients, 5 rounds, 10 numbers)"
    yield Row("hello-np from shell to exit", figures, "≤ 1.5 s", median(walls) <= 1.5)
    pairs = [
        (
            runner.run("import flare_core", "-c", "import numpy, flare_core").wall,
            runner.run("import numpy", "-c", "import numpy").wall,
        )
        for _ in range(3 * runner.repeat)
    ]
    extra = median([ours - numpy for ours, numpy in pairs])
    yield Row("import flare_core, beyond numpy", {"flare": f"{extra:.3f} s"}, "≤ 0.15 s", extra <= 0.15)


def adding(runner: Runner, clients: int, rounds: int, mib: int, *, weigh: bool = False) -> Measured:
    label = f"flare, {clients} clients, {rounds} rounds, {mib} MiB"
    command = (ADDING / "flare_job.py", clients, rounds, mib, clients if mib else 0, runner.folder)
    return runner.run(label, *command, cwd=ADDING, weigh=weigh)


def peer_adding(
    runner: Runner, peer: str, clients: int, rounds: int, mib: int, *, weigh: bool = False
) -> Measured | None:
    script = "flower.py" if peer == FLOWER else "nvflare_job.py"
    label = f"{clients} clients, {rounds} rounds, {mib} MiB"
    command = (ADDING / script, clients, rounds, mib, runner.folder / peer)
    return runner.in_peer(peer, label, *command, cwd=ADDING, weigh=weigh)


SUITES = {"startup": startup, "rounds": rounds, "overhead": overhead}

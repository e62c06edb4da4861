"""The promises for large models and their transport."""

from __future__ import annotations

from collections.abc import Iterator

from measure import MIB, Measured
from runner import HERE, Row, Runner, median, spread
from suites import ADDING, FLOWER, NVFLARES, adding, peer_adding

LINKS = HERE / "links"
CLIENTS, ROUNDS = 4, 3


def big(runner: Runner) -> Iterator[Row]:
    """A large model takes the time to transfer its bytes, and the memory to hold it."""
    yield from _big(runner, 512, with_peers=True)
    yield from _big(runner, 1024, with_peers=False)


def _big(runner: Runner, mib: int, *, with_peers: bool) -> Iterator[Row]:
    what = f"{mib} MiB model, {CLIENTS} clients, {ROUNDS} rounds"
    work = (CLIENTS, ROUNDS, mib)
    pairs = runner.pairs(
        lambda: adding(runner, *work),
        lambda: runner.run(f"raw sockets, {mib} MiB", ADDING / "raw_sockets.py", *work, cwd=ADDING),
    )
    assert all(ours.printed("first") == raw.printed("first") == ROUNDS for ours, raw in pairs)
    ratios = [ours.wall / raw.wall for ours, raw in pairs]
    ours, raw = (
        adding(runner, *work, weigh=True),
        runner.run("raw sockets", ADDING / "raw_sockets.py", *work, cwd=ADDING, weigh=True),
    )
    bare = bare_interpreter(runner)
    peers = {peer: peer_adding(runner, peer, *work, weigh=True) for peer in (*NVFLARES, FLOWER) if with_peers}
    found = {peer: measured for peer, measured in peers.items() if measured is not None}
    yield Row(
        f"{what}: wall time",
        {
            "flare": f"{median([ours.wall for ours, _ in pairs]):.1f} s",
            "baseline": f"raw sockets {median([raw.wall for _, raw in pairs]):.1f} s",
            "ratio": spread(ratios),
            **{peer: f"{measured.wall:.0f} s" for peer, measured in found.items()},
        },
        "≤ 1.5 × raw sockets",
        median(ratios) <= 1.5,
    )
    for role, rank, limit in (("server", 0, 2.2), ("largest client", 1, 1.25)):
        size = ours.peaks[rank] - bare
        yield Row(
            f"{what}: memory of the {role}, beyond a bare interpreter",
            {
                "flare": f"{size / MIB:.0f} MiB",
                "baseline": f"raw sockets {(raw.peaks[rank] - bare) / MIB:.0f} MiB",
                "ratio": f"{size / MIB / mib:.2f} × model",
                **{peer: f"{(measured.peaks[rank] - bare) / MIB:.0f} MiB" for peer, measured in found.items()},
            },
            f"≤ {limit} × model",
            size <= limit * mib * MIB,
        )


def network(runner: Runner) -> Iterator[Row]:
    """A large model between processes connected by gRPC."""
    for mib in (512, 1024):
        for kind in ("plain", "mtls"):
            work = (CLIENTS, ROUNDS, mib, kind, runner.folder)
            pairs = runner.pairs(
                lambda work=work: runner.run("flare over gRPC", LINKS / "flare_models.py", *work, cwd=LINKS),
                lambda work=work: runner.run("bare gRPC", LINKS / "bare_models.py", *work, cwd=LINKS),
            )
            assert all(ours.printed("first") == bare.printed("first") == ROUNDS for ours, bare in pairs)
            loops = [(ours.printed("loop"), bare.printed("loop")) for ours, bare in pairs]
            ratios = [ours / bare for ours, bare in loops]
            yield Row(
                f"{mib} MiB model over gRPC, {kind}, {CLIENTS} clients, {ROUNDS} rounds: time of the rounds",
                {
                    "flare": f"{median([ours for ours, _ in loops]):.1f} s",
                    "baseline": f"bare gRPC streams {median([bare for _, bare in loops]):.1f} s",
                    "ratio": spread(ratios),
                },
                "≤ 1.5 × bare gRPC streams",
                median(ratios) <= 1.5,
            )


def memory(runner: Runner) -> Iterator[Row]:
    """The server's memory does not grow with clients or rounds."""
    bare = bare_interpreter(runner)
    sizes = [(adding(runner, clients, 2, 256, weigh=True).peaks[0] - bare) / MIB for clients in (2, 4, 8, 16)]
    yield Row(
        "256 MiB model, 2, 4, 8, 16 clients: memory of the server",
        {
            "flare": ", ".join(f"{size:.0f} MiB" for size in sizes),
            "ratio": f"largest / least {max(sizes) / min(sizes):.3f}",
        },
        "flat within 5 %",
        max(sizes) <= 1.05 * min(sizes),
    )
    few, many = (adding(runner, CLIENTS, rounds, 256, weigh=True).peaks[0] - bare for rounds in (2, 10))
    yield Row(
        f"256 MiB model, {CLIENTS} clients, 2 and 10 rounds: memory of the server",
        {"flare": f"{few / MIB:.0f} MiB, {many / MIB:.0f} MiB", "ratio": f"{many / few:.3f}"},
        "the same within 2 %",
        many <= 1.02 * few,
    )


def huge(runner: Runner) -> Iterator[Row]:
    """A model of 2 GiB."""
    bare = bare_interpreter(runner)
    measured = adding(runner, CLIENTS, ROUNDS, 2048, weigh=True)
    assert measured.printed("first") == ROUNDS
    server, client = ((size - bare) / MIB for size in measured.peaks[:2])
    yield Row(
        f"2 GiB model, {CLIENTS} clients, {ROUNDS} rounds",
        {
            "flare": f"{measured.wall:.0f} s; server {server:.0f} MiB, largest client {client:.0f} MiB",
            "ratio": f"{server / 2048:.2f}, {client / 2048:.2f} × model",
        },
        "server ≤ 2.2, client ≤ 1.25 × model",
        server <= 2.2 * 2048 and client <= 1.25 * 2048,
    )


def frozen(runner: Runner) -> Iterator[Row]:
    """Unchanged tensors are sent only once."""
    measured = runner.run("95 % frozen", ADDING / "frozen_job.py", CLIENTS, 5, 512, runner.folder, cwd=ADDING)
    sent, received = measured.printed("sent"), measured.printed("received")
    yield Row(
        "512 MiB model, 95 % frozen: bytes a round and client after the first round",
        {"flare": f"{100 * sent:.1f} % of the model to a site, {100 * received:.1f} % from it"},
        "≤ 6 % of the model",
        sent <= 0.06 and received <= 0.06,
    )


def messages(runner: Runner) -> Iterator[Row]:
    """Small messages over gRPC, alone and during a bulk transfer, and the serialization of metadata."""
    for kind in ("plain", "mtls"):
        pairs = runner.pairs(
            lambda kind=kind: _messages(runner, "flare", kind), lambda kind=kind: _messages(runner, "bare", kind)
        )
        for under_way in (1, 4, 16):
            rates = [(ours.printed(f"rate-{under_way}"), bare.printed(f"rate-{under_way}")) for ours, bare in pairs]
            ratios = [ours / bare for ours, bare in rates]
            promised = 0.6 if under_way == 1 else 0.8
            yield Row(
                f"round trips of 100 bytes over gRPC, {kind}, {under_way} under way",
                {
                    "flare": f"{median([ours for ours, _ in rates]):.0f}/s",
                    "baseline": f"bare bidirectional stream {median([bare for _, bare in rates]):.0f}/s",
                    "ratio": spread(ratios),
                },
                f"≥ {promised} × a bare stream",
                median(ratios) >= promised,
            )
        latencies = [ours.printed("p99") for ours, _ in pairs]
        bulk = median([ours.printed("bulk") for ours, _ in pairs])
        yield Row(
            f"the same beside a download over the same link, {kind}: 99th percentile",
            {"flare": f"{spread(latencies)} ms, at {bulk:.2f} GB/s"},
            "≤ 5 ms",
            median(latencies) <= 5,
        )
    metadata = [runner.run("metadata", LINKS / "metadata.py", cwd=LINKS) for _ in range(runner.repeat)]
    ways = {way: median([each.printed(way) for each in metadata]) for way in ("write", "read")}
    yield Row(
        "metadata through flare-fobs, speed relative to msgpack alone",
        {"flare": f"write {ways['write']:.2f}, read {ways['read']:.2f}"},
        "≥ 0.5 × msgpack",
        min(ways.values()) >= 0.5,
    )


def _messages(runner: Runner, system: str, kind: str) -> Measured:
    return runner.run(f"messages, {system}, {kind}", LINKS / "messages.py", system, kind, runner.folder, cwd=LINKS)


def bare_interpreter(runner: Runner) -> int:
    return runner.run("bare interpreter", "-c", "import time; time.sleep(0.5)", weigh=True).peaks[0]


SUITES = {
    "big": big,
    "network": network,
    "memory": memory,
    "huge": huge,
    "frozen": frozen,
    "messages": messages,
}

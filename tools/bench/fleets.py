"""The promises of fleets of devices."""

from __future__ import annotations

from collections.abc import Iterator

from measure import MIB
from runner import HERE, Row, Runner, median

EDGE = HERE / "edge"
DEVICES, AT_ONCE, SECONDS = 10_000, 1_000, 6_000


def virtual(runner: Runner) -> Iterator[Row]:
    """10,000 devices in simulated time, of which 1,000 work at a time."""
    for training, most, doing in (("none", 10_000_000, "compute nothing"), ("digits", 2_000_000, "train on digits")):
        command = (EDGE / "virtual_fleet.py", DEVICES, AT_ONCE, SECONDS, training)
        rates = [runner.run(training, *command, cwd=EDGE).printed("checkins") for _ in range(runner.repeat)]
        yield Row(
            f"simulated time, {DEVICES:,} devices that {doing}: check-ins an hour of real time",
            {"flare": f"{median(rates) / 1e6:.1f} million"},
            f"≥ {most // 1_000_000} million",
            median(rates) >= most,
        )
        memory = runner.run(training, *command, cwd=EDGE, weigh=True).memory
        yield Row(f"simulated time, {DEVICES:,} devices that {doing}: memory", {"flare": f"{memory / MIB:.0f} MiB"})


def gateway(runner: Runner) -> Iterator[Row]:
    """10,000 devices that check in with one gateway over TLS, a tenth of which vanishes each minute."""
    found = runner.run("check-ins over TLS", EDGE / "gateway_fleet.py", DEVICES, cwd=EDGE)
    rate, memory, errors = (found.printed(name) for name in ("checkins", "memory", "errors"))
    what = f"{DEVICES:,} devices at one gateway over TLS"
    yield Row(f"{what}: check-ins a second", {"flare": f"{rate:,.0f}"}, "≥ 1,000", rate >= 1000)
    yield Row(f"{what}: memory of all processes", {"flare": f"{memory / MIB:.0f} MiB"}, "< 2 GiB", memory < 2048 * MIB)
    yield Row(f"{what}: errors", {"flare": f"{errors:.0f}"}, "0", errors == 0)


SUITES = {"edge": virtual, "gateway": gateway}

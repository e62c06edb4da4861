"""Compare a run in Flare with Flower's own deployment, in turn: wall time, peak memory, digest of the arrays.

Usage: python beside_plain.py [MiB of parameters] [rounds] [repetitions]; by default 10 numbers, 3 rounds, once.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

from flower_probe import PROBE, probe, sha_in
from plain_flower import measured_peak, run_plain

from flare_runtime import SimEnv


def main() -> None:
    mib, rounds, repetitions = (int(each) for each in [*sys.argv[1:], "0", "3", "1"][:3])
    run_config = {"rounds": rounds, "size": mib * (1 << 18) or 10}
    ratios = []
    for _ in range(repetitions):
        with tempfile.TemporaryDirectory(prefix="beside-") as folder:
            ours = in_flare(Path(folder), run_config)
            plain = run_plain(PROBE, Path(folder) / "plain", run_config=run_config, timeout_s=900)
        assert ours[2] == sha_in(plain.log)
        ratios.append(ours[0] / plain.seconds)
        print(
            f"Flare {ours[0]:.1f} s, {ours[1]:.0f} MiB; Flower {plain.seconds:.1f} s, {plain.peak_mib:.0f} MiB;"
            f" time {ratios[-1]:.2f}, equal arrays",
            flush=True,
        )
    print(f"median of the ratios of times: {statistics.median(ratios):.2f}")


def in_flare(folder: Path, run_config: dict[str, int]) -> tuple[float, float, str]:
    """Return seconds, MiB and digest."""
    started = time.monotonic()
    with measured_peak() as peak:
        run = probe(**run_config).execute(SimEnv(num_clients=2, workspace_root=folder / "runs"))
        seconds = time.monotonic() - started
    return seconds, peak[0], (run.get_result() / "server" / "hash.txt").read_text()


if __name__ == "__main__":
    main()

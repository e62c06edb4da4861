"""Measure a gateway that 10,000 simulated devices check in with over TLS: ``gateway_fleet.py DEVICES``."""

from __future__ import annotations

import json
import subprocess
import sys


def main() -> None:
    command = [sys.executable, "-m", "flare_edge.fleet", "bench", f"--devices={sys.argv[1]}"]
    options = ["--arrival-s=60", "--warm-up=90", "--seconds=60", "--wait-s=8", "--online-s=600", "--offline-s=60"]
    found = json.loads(subprocess.run([*command, *options], stdout=subprocess.PIPE, text=True).stdout)
    print("checkins", found["check-ins/s"])
    print("results", found["results/s"])
    print("memory", round(found["peak memory of all processes, MiB"] * (1 << 20)))
    print("errors", sum(found["errors"].values()))


if __name__ == "__main__":
    main()

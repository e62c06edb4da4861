"""Keep many clients connected to one server for a while, running small jobs, and plot what the server holds.

Usage: tools/soak.py [--clients 64] [--minutes 10] [--plot soak.svg]

Prints a line a job and, at the end, how memory, threads, sockets and files of the server's daemon changed between the
first quarter and the last; exits with 1 if one of them has grown.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from flare_recipes_np import FedAvgRecipe
from flare_runtime import Admin
from flare_runtime.poc import Poc

SCRIPT = """
    import flare_core.client as flare

    flare.init()
    while flare.is_running():
        model = flare.receive()
        flare.send(flare.FLModel(params={key: value + 1 for key, value in model.params.items()}))
"""
ALLOWED = {"memory": 1.05, "threads": 1.0, "sockets": 1.0, "files": 1.0}
UNITS = {"memory": "MiB"}


@dataclass(frozen=True)
class Sample:
    """What the server's daemon held between two jobs."""

    minutes: float
    memory: float
    threads: int
    sockets: int
    files: int


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/soak.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--plot", type=Path, default=Path("soak.svg"))
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="flare-soak-"))
    poc = Poc(folder / "poc")
    poc.prepare([f"site-{number}" for number in range(1, options.clients + 1)])
    poc.start(leashed=True)
    try:
        samples = soak(poc, folder, options.clients, options.minutes)
    finally:
        poc.stop()
        shutil.rmtree(folder)
    options.plot.write_text(plot(samples, options.clients), encoding="utf-8")
    return report(samples)


def soak(poc: Poc, folder: Path, clients: int, minutes: float) -> list[Sample]:
    (folder / "client.py").write_text(textwrap.dedent(SCRIPT))
    recipe = FedAvgRecipe(
        name="small",
        min_clients=clients,
        num_rounds=5,
        initial_model=np.zeros(10),
        train_script=folder / "client.py",
    )
    server = psutil.Process(poc.status()["server"])
    began = time.monotonic()
    samples: list[Sample] = []
    with Admin.connect(poc.admin) as admin:
        while (passed := (time.monotonic() - began) / 60) < minutes:
            job = admin.submit(recipe.job())
            ended = admin.wait(job["id"], timeout_s=300)
            if ended["state"] != "finished":
                raise SystemExit(f"the job {job['id']} {ended['state']}: {ended['reason']}")
            samples.append(measure(server, passed))
            print(f"job {len(samples)}, {passed:.1f} min: {samples[-1]}", flush=True)
    return samples


def measure(server: psutil.Process, minutes: float) -> Sample:
    connections = server.net_connections(kind="all")
    return Sample(
        minutes,
        server.memory_full_info().pss / 2**20,
        server.num_threads(),
        sum(1 for each in connections if each.status in ("ESTABLISHED", "LISTEN")),
        server.num_fds(),
    )


def report(samples: list[Sample]) -> int:
    # The first job starts threads and fills caches, which is not growth.
    quarter = max(1, len(samples) // 4)
    first, last = samples[1 : 1 + quarter], samples[-quarter:]
    grown = []
    for name, allowed in ALLOWED.items():
        before, after = (statistics.median(getattr(each, name) for each in part) for part in (first, last))
        print(f"{name}: {before:g} -> {after:g} {UNITS.get(name, '')}".rstrip())
        if after > before * allowed:
            grown.append(name)
    print(f"{len(samples)} jobs; " + (f"grown: {', '.join(grown)}" if grown else "nothing has grown"))
    return 1 if grown else 0


def plot(samples: list[Sample], clients: int) -> str:
    """Four curves over time, one above the other, as SVG."""
    width, height, left = 720, 110, 70
    end = max(each.minutes for each in samples) or 1.0
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width + left + 30}" height="{4 * (height + 40) + 50}"'
        ' font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{left}" y="22" font-size="14">The server\'s daemon: {clients} clients connected,'
        f" {len(samples)} jobs of 5 rounds</text>",
    ]
    for index, name in enumerate(ALLOWED):
        top = 50 + index * (height + 40)
        values = [getattr(each, name) for each in samples]
        high = max(values) * 1.1 or 1.0
        points = " ".join(
            f"{left + each.minutes / end * width:.1f},{top + height - getattr(each, name) / high * height:.1f}"
            for each in samples
        )
        unit = f" ({UNITS[name]})" if name in UNITS else ""
        parts += [
            f'<text x="{left}" y="{top - 6}">{name}{unit}</text>',
            f'<path d="M{left},{top} V{top + height} H{left + width}" fill="none" stroke="#888"/>',
            f'<text x="{left - 6}" y="{top + 10}" text-anchor="end">{high:.0f}</text>',
            f'<text x="{left - 6}" y="{top + height}" text-anchor="end">0</text>',
            f'<polyline points="{points}" fill="none" stroke="#0b62a4" stroke-width="2"/>',
        ]
    bottom = 50 + 4 * (height + 40) - 18
    parts += [
        f'<text x="{left}" y="{bottom}">0</text>',
        f'<text x="{left + width}" y="{bottom}" text-anchor="end">{end:.1f} minutes</text>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.exit(main())

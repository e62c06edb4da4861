"""Keep many clients connected to one server while small jobs run, and plot the server's resources.

Usage: tools/soak.py [--clients 64] [--minutes 10] [--plot soak.svg]

Prints a line for each job and finally the change in memory, threads, sockets and files of the server's daemon from the
first quarter to the last; exits with 1 if one of them has grown.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import psutil

from flare_deploy import Admin
from flare_deploy.poc import Poc
from flare_recipes_np import FedAvgRecipe
from holdings import UNITS, Curve, Sample, measure, plot

SCRIPT = """
    import flare_core.client as flare

    flare.init()
    while flare.is_running():
        model = flare.receive()
        flare.send(flare.FLModel(params={key: value + 1 for key, value in model.params.items()}))
"""
GONE_WITHIN_S = 60.0
ALLOWED = {"memory": 1.05, "threads": 1.0, "sockets": 1.0, "files": 1.0}


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/soak.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--plot", type=Path, default=Path("soak.svg"))
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="flare-soak-"))
    poc = Poc(folder / "poc")
    poc.prepare([f"site-{number}" for number in range(1, options.clients + 1)])
    poc.start(owned=True)
    try:
        samples = soak(poc, folder, options.clients, options.minutes)
    finally:
        poc.stop()
        shutil.rmtree(folder)
    title = f"The server's daemon: {options.clients} clients connected, {len(samples)} jobs of 5 rounds"
    options.plot.write_text(plot(title, [Curve("#0b62a4", samples)]), encoding="utf-8")
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
    daemons = {name: psutil.Process(process) for name, process in poc.status().items()}
    server = daemons["server"]
    began = time.monotonic()
    samples: list[Sample] = []
    with Admin.connect(poc.admin) as admin:
        while (passed := (time.monotonic() - began) / 60) < minutes:
            job = admin.submit(recipe.job())
            ended = admin.wait(job["id"], timeout_s=300)
            if ended["state"] != "finished":
                raise SystemExit(f"the job {job['id']} {ended['state']}: {ended['reason']}")
            await_end_of_jobs(daemons.values())
            samples.append(measure(server, passed))
            print(f"job {len(samples)}, {passed:.1f} min: {samples[-1]}", flush=True)
    return samples


def await_end_of_jobs(daemons: Iterable[psutil.Process]) -> None:
    """Wait for the job processes to end, since their connections would count as growth."""
    processes = [child for daemon in daemons for child in daemon.children(recursive=True)]
    _, alive = psutil.wait_procs(processes, timeout=GONE_WITHIN_S)
    if alive:
        raise SystemExit(f"{len(alive)} processes of a finished job still run after {GONE_WITHIN_S:.0f} s: {alive}")


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


if __name__ == "__main__":
    sys.exit(main())

"""The probe app, and what tests look for in its runs."""

from __future__ import annotations

import os
import re
import select
import time
from pathlib import Path

import psutil
import pytest

from flare_flower import FlowerRecipe

PROBE = Path(__file__).parent / "probe app"

unprivileged = pytest.mark.skipif(os.geteuid() == 0, reason="kills processes; run it as another user than root")


def sha_in(text: str) -> str:
    """Return the digest that the probe app has printed."""
    return re.findall(r"sha256: ([0-9a-f]{64})", text)[-1]


def probe(*, min_clients: int = 2, **run_config) -> FlowerRecipe:
    return FlowerRecipe(name="probe", flower_content=PROBE, min_clients=min_clients, run_config=named(run_config))


def named(run_config):
    return {key.replace("_", "-"): value for key, value in run_config.items()}


def flower_processes(folder: Path, where: str = "") -> list[psutil.Process]:
    """Return Flower's processes of runs below ``folder``, and of the party whose folder has ``where`` in its path."""
    found = []
    for process in psutil.process_iter():
        try:
            home = process.environ().get("FLWR_HOME", "")
            if home.startswith(str(folder)) and where in home and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):  # it has just ended, or is another user's
            continue
    return found


def left_after(folder: Path, seconds: float = 5.0, where: str = "") -> list[psutil.Process]:
    """Return Flower's processes of runs below ``folder`` that have not ended within so many seconds."""
    return alive_after(flower_processes(folder, where), seconds)


def alive_after(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Return the processes that have not ended within so many seconds; one that nobody has waited for has ended."""
    until = time.monotonic() + seconds
    return [each for each in processes if not _has_ended(each.pid, max(0.0, until - time.monotonic()))]


def _has_ended(pid: int, seconds: float) -> bool:
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([process], [], [], seconds)[0])
    finally:
        os.close(process)

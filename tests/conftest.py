"""What the end-to-end tests share: small projects on disk, run in the simulator."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import psutil
import pytest

from flare_recipes_np import FedAvgRecipe
from flare_runtime import SimEnv

ECHO = """
    import flare_core.client as flare

    flare.init()
    while flare.is_running():
        model = flare.receive()
        flare.send(flare.FLModel(params=model.params, metrics={"accuracy": 0.5}))
"""


class Project:
    """A folder with scripts, and recipes that run them in the simulator."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    def recipe(self, script: str = ECHO, **arguments):
        """A NumPy FedAvg recipe whose script is given as text."""
        path = self.write("client.py", script)
        defaults = {
            "name": "case",
            "min_clients": 2,
            "num_rounds": 1,
            "initial_model": np.zeros(2),
            "train_script": path,
        }
        return FedAvgRecipe(**{**defaults, **arguments})

    def env(self, num_clients: int = 2, **arguments) -> SimEnv:
        if "clients" in arguments:
            num_clients = 0
        return SimEnv(num_clients=num_clients, workspace_root=self.folder / "runs", **arguments)

    def python(self, *arguments: str, cwd: Path | None = None, timeout: float = 60, **environment: str):
        """Run Python as a user would, in a process of its own."""
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=cwd or self.folder,
            env={**os.environ, "FLARE_WORKSPACE": str(self.folder / "runs"), **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
        )


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.fixture(autouse=True)
def nothing_is_left_behind():
    """Every test ends with the processes with which it began."""
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    yield
    gone, left = psutil.wait_procs(
        [process for process in psutil.Process().children(recursive=True) if process.pid not in before], timeout=5
    )
    assert not left, f"processes left behind: {[process.cmdline() for process in left]} (ended late: {len(gone)})"

"""Apps that were not written for Flare: those that ``flwr new`` and ``flare flower new`` make.

Since 1.25 ``flwr new`` downloads apps from Flower's hub. 1.24 is the last release that has templates itself; the
environment variable ``FLOWER_TEMPLATES`` names a folder into which it was installed (``nox -s flower`` does that).
"""

from __future__ import annotations

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from plain_flower import PlainBeside

from flare_flower import FlowerRecipe

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

SEEDED = {"PYTHONPATH": str(Path(__file__).parent / "seeded")}
"""The app draws random numbers; with this each process draws the same in each run."""

NEW = """
import sys
from flwr.cli.app import app
sys.argv = ["flwr", "new", "written-by-flwr", "--framework", "NumPy", "--username", "somebody"]
app()
"""


@pytest.fixture(scope="module")
def theirs(tmp_path_factory) -> Path:
    """The app that ``flwr new`` writes."""
    folder = tmp_path_factory.mktemp("theirs")
    environment = {**os.environ, "PYTHONPATH": os.environ["FLOWER_TEMPLATES"], "FLWR_TELEMETRY_ENABLED": "0"}
    subprocess.run([sys.executable, "-c", NEW], cwd=folder, env=environment, check=True, capture_output=True)
    (app,) = [path.parent for path in folder.glob("*/pyproject.toml")]
    return app


@pytest.fixture(scope="module", autouse="FLOWER_TEMPLATES" in os.environ)
def plain(theirs, tmp_path_factory):
    """A run of that app in Flower's own deployment, whose generators are seeded."""
    run = PlainBeside(theirs, tmp_path_factory.mktemp("plain"), SEEDED)
    yield run
    run.end()


def test_the_app_of_flare_flower_new_runs_in_flare(tmp_path):
    command = [sys.executable, "-c", "from flare_flower.cli import app; app()", "new", "my-app"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    found = subprocess.run(
        [sys.executable, "job.py"], cwd=tmp_path / "my-app", check=True, capture_output=True, text=True
    )
    assert found.stdout.splitlines()[-1].startswith("weights: [1.99")


@pytest.mark.parametrize("name", ["1st", "my app", "a/b", "x" * 33])
def test_a_name_that_flower_refuses_is_refused_by_flare_flower_new(tmp_path, name):
    command = [sys.executable, "-c", "from flare_flower.cli import app; app()", "new", name]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert found.returncode == 2
    assert list(Path(tmp_path).iterdir()) == []


@pytest.mark.skipif("FLOWER_TEMPLATES" not in os.environ, reason="FLOWER_TEMPLATES names no folder with flwr 1.24")
def test_the_app_of_flwr_new_gives_flowers_own_arrays(simulate, theirs, plain, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", SEEDED["PYTHONPATH"])
    run = simulate(FlowerRecipe(name="theirs", flower_content=theirs, min_clients=2))
    folder = run.get_result()
    assert run.summary()["rounds"] == 3
    (ours,) = np.load(folder / "server" / "final_model.npz").values()
    plain.log()
    (expected,) = np.load(plain.folder / "final_model.npz").values()
    assert sha256(ours).hexdigest() == sha256(expected).hexdigest()
    assert 1.0 < ours[0, 0] < 4.0  # one, and the mean of random numbers in each round

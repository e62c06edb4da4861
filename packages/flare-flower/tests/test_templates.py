"""Apps that were not written for Flare: those that ``flwr new`` and ``flare flower new`` make.

Since 1.25 ``flwr new`` downloads apps from Flower's hub. 1.24 is the last release that has templates itself; the
environment variable ``FLOWER_TEMPLATES`` names a folder into which it was installed (``nox -s flower`` does that).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from flare_flower import FlowerRecipe

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

NEW = """
import sys
from flwr.cli.app import app
sys.argv = ["flwr", "new", "written-by-flwr", "--framework", "NumPy", "--username", "somebody"]
app()
"""


@pytest.mark.skipif("FLOWER_TEMPLATES" not in os.environ, reason="FLOWER_TEMPLATES names no folder with flwr 1.24")
def test_the_app_of_flwr_new_runs_unchanged(simulate, tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.environ["FLOWER_TEMPLATES"], "FLWR_TELEMETRY_ENABLED": "0"}
    subprocess.run([sys.executable, "-c", NEW], cwd=tmp_path, env=environment, check=True, capture_output=True)
    (app,) = [path.parent for path in tmp_path.glob("*/pyproject.toml")]
    run = simulate(FlowerRecipe(name="theirs", flower_content=app, min_clients=2))
    folder = run.get_result()
    (final,) = np.load(folder / "server" / "final_model.npz").values()
    assert run.summary()["rounds"] == 3
    assert final.shape == (1, 1)
    assert 1.0 < final[0, 0] < 4.0  # one, and the mean of random numbers in each round


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

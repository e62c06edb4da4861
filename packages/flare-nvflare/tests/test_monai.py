"""A script with MONAI's engines, in the names of NVIDIA FLARE; MONAI is in an environment of its own: nox -s monai."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "advanced" / "monai"
JOB = """
import torch
from data import make
from model import Net

from nvflare.app_opt.monai import decomposers
from nvflare.app_opt.pt.recipes.fedavg import FedAvgRecipe
from nvflare.recipe import SimEnv

decomposers.register_monai_types()
folders = make()
torch.manual_seed(0)
recipe = FedAvgRecipe(
    name="monai",
    min_clients=len(folders),
    num_rounds=2,
    model=Net(),
    train_script="client.py",
    key_metric="dice",
    per_site_config={site: {"train_args": str(folder)} for site, folder in folders.items()},
)
run = recipe.execute(SimEnv(clients=list(folders), workspace_root="runs"))
print(run.get_status())
"""


@pytest.mark.slow
@pytest.mark.timeout(300)  # on a busy machine the imports alone take a minute
@pytest.mark.skipif(importlib.util.find_spec("monai") is None, reason="MONAI is not installed")
def test_a_script_with_monais_engines_trains_in_the_names_of_nvidia_flare(tmp_path):
    script = (EXAMPLE / "client.py").read_text()
    assert "import flare_core.client as flare" in script
    (tmp_path / "client.py").write_text(script.replace("flare_core.client", "nvflare.client"))
    for name in ("data.py", "model.py"):
        (tmp_path / name).write_bytes((EXAMPLE / name).read_bytes())
    (tmp_path / "job.py").write_text(JOB)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "job.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "FINISHED:COMPLETED"
    summary = json.loads((tmp_path / "runs" / "monai" / "summary.json").read_text())
    assert summary["best"]["round"] == 1
    assert summary["best"]["value"] > 0.8  # after one round; of the first network, 0.25

"""A first job: a script that adds one to an array at each site."""

from __future__ import annotations

import json
import subprocess
import sys

CLIENT = """
import nvflare.client as flare
from nvflare.app_common.np.constants import NPConstants
from nvflare.client.tracking import SummaryWriter

flare.init()
writer = SummaryWriter()
while flare.is_running():
    model = flare.receive()
    array = model.params[NPConstants.NUMPY_KEY] + 1
    writer.add_scalar("mean", array.mean(), global_step=model.current_round)
    result = flare.FLModel(params={NPConstants.NUMPY_KEY: array}, metrics={"mean": array.mean()})
    result.current_round = model.current_round
    flare.send(result)
"""

JOB = """
import sys
from nvflare.app_common.np.recipes.fedavg import NumpyFedAvgRecipe
from nvflare.client.config import TransferType
from nvflare.recipe import SimEnv, add_experiment_tracking

recipe = NumpyFedAvgRecipe(
    name="hello-numpy",
    min_clients=2,
    num_rounds=3,
    model=[[1, 2, 3], [4, 5, 6], [7, 8, 9]],
    train_script="client.py",
    params_transfer_type=TransferType[sys.argv[2]],
    key_metric="mean",
)
run = recipe.execute(SimEnv(num_clients=2, workspace_root=sys.argv[1]))
print("result", run.get_result())
"""


def test_whole_models_and_differences_give_the_same_numbers(tmp_path):
    (tmp_path / "client.py").write_text(CLIENT)
    (tmp_path / "job.py").write_text(JOB)
    for transfer in ("FULL", "DIFF"):
        job = [sys.executable, str(tmp_path / "job.py"), str(tmp_path / transfer), transfer]
        done = subprocess.run(job, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert f"result {tmp_path / transfer / 'hello-numpy'}" in done.stdout
        (summary,) = (tmp_path / transfer / "hello-numpy").glob("*/summary.json")
        assert json.loads(summary.read_text())["metrics"] == {"mean": 8.0}

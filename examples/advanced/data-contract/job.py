"""Train a model on the data of three sites, which must keep a contract before training begins."""

import tempfile

import numpy as np
from data import SITES, write

from flare_recipes_np import FedAvgRecipe
from flare_runtime import SimEnv
from flare_stats import require_contract


def train(folder: str):
    recipe = FedAvgRecipe(
        name="data-contract",
        min_clients=3,
        num_rounds=20,
        initial_model={"weights": np.zeros(9)},
        train_script="client.py",
        key_metric="error",
        key_metric_mode="min",
    )
    recipe.add_client_config({"data": f"{folder}/{{site}}.csv"})
    require_contract(recipe, "contract.yml", data={"config": "data"})
    return recipe.execute(SimEnv(clients=SITES), raise_on_failure=False)


with tempfile.TemporaryDirectory() as folder:
    write(folder, corrected=False)
    print(train(folder).summary()["error"])
    print("\n--- the sites have corrected their files ---\n")
    write(folder, corrected=True)
    run = train(folder)
print(f"root mean squared error: {run.summary()['metrics']['error']:.1f}")

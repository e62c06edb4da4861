"""A model that is 95 % frozen, like adapters on a backbone: the traffic after the first round."""

import sys

import numpy as np

from flare_recipes_np import FedAvgRecipe
from flare_runtime import SimEnv

clients, rounds, mib = map(int, sys.argv[1:4])
shape = (mib * (1 << 18) // 40,)
model = {f"{'adapter' if number < 2 else 'backbone'}.{number}": np.zeros(shape, np.float32) for number in range(40)}
size = sum(array.nbytes for array in model.values())
recipe = FedAvgRecipe(
    name="frozen", min_clients=clients, num_rounds=rounds, initial_model=model, train_script="frozen_client.py"
)
model.clear()
run = recipe.execute(SimEnv(num_clients=clients, num_threads=clients, workspace_root=sys.argv[4]))
later = run.summary()["bytes"]["rounds"][1:]
print("sent", max(each["sent"] for each in later) / clients / size)
print("received", max(each["received"] for each in later) / clients / size)
print("first", float(run.load_model("global")["adapter.0"][0]))

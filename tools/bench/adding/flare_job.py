import sys
import time

import numpy as np

from flare_deploy import PocEnv
from flare_recipes_np import FedAvgRecipe
from flare_runtime import SimEnv

clients, rounds, mib, workers = map(int, sys.argv[1:5])
model = {f"weights.{number}": np.zeros((mib * 8, 1024), np.float32) for number in range(32 if mib else 0)}
recipe = FedAvgRecipe(
    name="adding",
    min_clients=clients,
    num_rounds=rounds,
    initial_model=model or np.zeros(10, np.float32),
    train_script="flare_client.py",
)
model.clear()
began = time.monotonic()
if sys.argv[6:] == ["poc"]:
    run = recipe.execute(PocEnv(num_clients=clients, workspace_root=sys.argv[5]))
else:
    run = recipe.execute(SimEnv(num_clients=clients, num_threads=workers or None, workspace_root=sys.argv[5]))
run.get_result()
print("loop", time.monotonic() - began)
print("run", run.summary()["seconds"])
print("first", float(next(iter(run.load_model("global").values())).flat[0]))

import os
import sys
import time

from model import Model

from nvflare.app_opt.pt.recipes.fedavg import FedAvgRecipe
from nvflare.recipe import SimEnv

clients, rounds = map(int, sys.argv[1:3])
os.environ["BENCH_MIB"] = sys.argv[3]
recipe = FedAvgRecipe(
    name="adding", min_clients=clients, num_rounds=rounds, model=Model(), train_script="nvflare_client.py"
)
began = time.monotonic()
run = recipe.execute(SimEnv(num_clients=clients, workspace_root=sys.argv[4]))
print("status", run.get_status(), run.get_result(timeout=900))
print("loop", time.monotonic() - began)

import sys

from nvflare.app_opt.pt.recipes.fedavg import FedAvgRecipe
from nvflare.recipe import SimEnv
from task import ROUNDS, first_net

clients = int(sys.argv[1])
recipe = FedAvgRecipe(
    name="mlp", min_clients=clients, num_rounds=ROUNDS, model=first_net(), train_script="nvflare_client.py"
)
run = recipe.execute(SimEnv(num_clients=clients, workspace_root=sys.argv[2]))
print("status", run.get_status(), run.get_result())

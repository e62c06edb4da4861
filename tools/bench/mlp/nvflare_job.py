import sys

from net_class import Net
from task import ROUNDS

from nvflare.app_opt.pt.recipes.fedavg import FedAvgRecipe
from nvflare.recipe import SimEnv

clients = int(sys.argv[1])
recipe = FedAvgRecipe(name="mlp", min_clients=clients, num_rounds=ROUNDS, model=Net(), train_script="nvflare_client.py")
run = recipe.execute(SimEnv(num_clients=clients, workspace_root=sys.argv[2]))
print("status", run.get_status(), run.get_result())

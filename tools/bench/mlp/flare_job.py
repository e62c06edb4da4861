import sys

from task import ROUNDS, accuracy, first_net, make_net

from flare_recipes_pt import FedAvgRecipe
from flare_runtime import SimEnv

clients = int(sys.argv[1])
recipe = FedAvgRecipe(
    name="mlp", min_clients=clients, num_rounds=ROUNDS, initial_model=first_net(), train_script="flare_client.py"
)
share = {"own": False, "shared": True}.get(sys.argv[3]) if sys.argv[3:] else None
run = recipe.execute(SimEnv(num_clients=clients, share_processes=share, workspace_root=sys.argv[2]))
net = make_net()
net.load_state_dict(run.load_model("global"))
print("accuracy", accuracy(net))

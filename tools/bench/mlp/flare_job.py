import sys

from task import ROUNDS, Net, accuracy, first_net

from flare_recipes_pt import FedAvgRecipe
from flare_runtime import SimEnv

clients, workers = map(int, sys.argv[1:3])
recipe = FedAvgRecipe(
    name="mlp", min_clients=clients, num_rounds=ROUNDS, initial_model=first_net(), train_script="flare_client.py"
)
run = recipe.execute(SimEnv(num_clients=clients, num_threads=workers or None, workspace_root=sys.argv[3]))
net = Net()
net.load_state_dict(run.load_model("global"))
print("accuracy", accuracy(net))

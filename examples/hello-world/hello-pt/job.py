"""Train one network on digits that three sites keep to themselves."""

import torch
from data import SITES, load_test
from model import Net
from train import accuracy

from flare_recipes_pt import FedAvgRecipe
from flare_runtime import SimEnv

torch.manual_seed(0)
recipe = FedAvgRecipe(
    name="hello-pt",
    min_clients=SITES,
    num_rounds=15,
    initial_model=Net(),
    train_script="client.py",
)
run = recipe.execute(SimEnv(num_clients=SITES))

net = Net()
net.load_state_dict(run.load_model("global"))
print(f"accuracy on {len(load_test()[1])} digits that no site has seen: {accuracy(net, *load_test()):.3f}")

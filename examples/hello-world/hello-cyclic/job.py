"""Train one network on digits by passing it from site to site."""

import torch
from data import load_test
from model import Net
from train import accuracy

from flare_recipes_pt import CyclicRecipe
from flare_runtime import SimEnv

SITES = 3

torch.manual_seed(0)
recipe = CyclicRecipe(
    name="hello-cyclic",
    min_clients=SITES,
    num_rounds=15,
    initial_model=Net(),
    train_script="client.py",
    train_args=f"--sites {SITES}",
    order="random",
    seed=3,
)
run = recipe.execute(SimEnv(num_clients=SITES))
net = Net()
net.load_state_dict(run.load_model("global"))
print(f"accuracy on {len(load_test()[1])} digits that no site has seen: {accuracy(net, *load_test()):.3f}")

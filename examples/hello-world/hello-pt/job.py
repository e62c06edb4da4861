"""Train one network on digits that stay at their sites."""

import argparse

import torch
from data import load_test
from model import Net
from train import accuracy

from flare_recipes_pt import FedAvgRecipe
from flare_runtime import SimEnv

parser = argparse.ArgumentParser()
parser.add_argument("--sites", type=int, default=3, help="number of sites that share the images")
parser.add_argument("--export", help="write the job into this folder instead of running it")
args = parser.parse_args()

torch.manual_seed(0)
recipe = FedAvgRecipe(
    name="hello-pt",
    min_clients=args.sites,
    num_rounds=15,
    initial_model=Net(),
    train_script="client.py",
    train_args=f"--sites {args.sites}",
)
if args.export:
    print(recipe.export(args.export))
else:
    run = recipe.execute(SimEnv(num_clients=args.sites))
    net = Net()
    net.load_state_dict(run.load_model("global"))
    print(f"accuracy on {len(load_test()[1])} digits that no site has seen: {accuracy(net, *load_test()):.3f}")

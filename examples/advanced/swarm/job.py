"""Train one network in a swarm: sites aggregate in turn, and the server never has the model."""

import argparse

import torch
from data import load_test
from model import Net
from safetensors.torch import load_file
from train import accuracy

from flare_recipes_pt import FedAvgRecipe, SwarmLearningRecipe
from flare_runtime import SimEnv

parser = argparse.ArgumentParser()
parser.add_argument("--sites", type=int, default=3, help="number of sites that share the images")
args = parser.parse_args()


def execute(recipe):
    torch.manual_seed(0)
    return recipe(
        min_clients=args.sites,
        num_rounds=15,
        initial_model=Net(),
        train_script="client.py",
        train_args=f"--sites {args.sites}",
    ).execute(SimEnv(num_clients=args.sites))


folder = execute(SwarmLearningRecipe).get_result()
paths = [folder / "sites" / f"site-{number}" / "global_model.safetensors" for number in range(1, args.sites + 1)]
if not all(path.is_file() for path in paths):
    raise SystemExit("The models are at the sites, in jobs/<job>/run/sites/<site> of their kits.")
at_sites = [load_file(path) for path in paths]
averaged = execute(FedAvgRecipe).load_model("global")

net = Net()
net.load_state_dict(at_sites[0])
print(f"accuracy on {len(load_test()[1])} digits that no site has seen: {accuracy(net, *load_test()):.3f}")
equal = sum(torch.equal(model[key], averaged[key]) for model in at_sites for key in averaged)
print(f"tensors at the sites that equal federated averaging, bit for bit: {equal} of {4 * args.sites}")

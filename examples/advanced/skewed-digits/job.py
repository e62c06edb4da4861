"""Compare algorithms on ten sites that each see few of the ten digits."""

import argparse
import contextlib
import io

import torch
from data import SITES, load_sites, load_test
from model import Net

from flare_recipes_pt import CyclicRecipe, FedAvgRecipe, FedOptRecipe, ScaffoldRecipe
from flare_runtime import SimEnv

parser = argparse.ArgumentParser()
parser.add_argument("--rounds", type=int, default=30)
parser.add_argument("--epochs", type=int, default=5, help="local epochs per round")
args = parser.parse_args()
torch.set_num_threads(1)  # more do not help such a small network


@torch.no_grad()
def accuracy(net):
    images, labels = load_test()
    return (net(images).argmax(dim=1) == labels).float().mean().item()


def trained_on(images, labels):
    """Return the accuracy after training for as many epochs as one site makes in all rounds."""
    torch.manual_seed(0)
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(args.rounds * args.epochs):
        for rows in torch.randperm(len(labels)).split(32):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(net(images[rows]), labels[rows]).backward()
            optimizer.step()
    return accuracy(net)


def federated(algorithm, recipe, **arguments):
    torch.manual_seed(0)
    run = recipe(
        name=algorithm,
        min_clients=SITES,
        num_rounds=args.rounds,
        initial_model=Net(),
        train_script="client.py",
        train_args=f"--algorithm {algorithm} --epochs {args.epochs}",
        **arguments,
    )
    with contextlib.redirect_stdout(io.StringIO()):
        result = run.execute(SimEnv(num_clients=SITES))
    net = Net()
    net.load_state_dict(result.load_model("global"))
    return accuracy(net)


sites = load_sites()
alone = [trained_on(*site) for site in sites]
print(f"one site alone, the best     {max(alone):.3f}", flush=True)
print(f"one site alone, on average   {sum(alone) / SITES:.3f}", flush=True)
momentum = {"class_path": "flare_core.optimizers.SGD", "args": {"lr": 1.0, "momentum": 0.6}}
for algorithm, recipe, arguments in [
    ("cyclic", CyclicRecipe, {}),
    ("fedavg", FedAvgRecipe, {"key_metric": None}),
    ("fedprox", FedAvgRecipe, {"key_metric": None}),
    ("fedopt", FedOptRecipe, {"key_metric": None, "optimizer_args": momentum}),
    ("scaffold", ScaffoldRecipe, {"key_metric": None}),
]:
    print(f"{algorithm:<28} {federated(algorithm, recipe, **arguments):.3f}", flush=True)
pooled = [torch.cat(parts) for parts in zip(*sites, strict=True)]
print(f"all images in one place      {trained_on(*pooled):.3f}")

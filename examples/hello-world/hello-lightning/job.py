"""Train one Lightning module on digits that stay at their sites."""

import argparse

from data import load_test
from lightning.pytorch import seed_everything
from model import Net

from flare_recipes_pt import FedAvgRecipe
from flare_runtime import SimEnv

parser = argparse.ArgumentParser()
parser.add_argument("--sites", type=int, default=3, help="number of sites that share the images")
parser.add_argument("--export", help="write the job into this folder instead of running it")
args = parser.parse_args()

seed_everything(0, verbose=False)
recipe = FedAvgRecipe(
    name="hello-lightning",
    min_clients=args.sites,
    num_rounds=10,
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
    images, labels = load_test()
    print(f"accuracy on {len(labels)} digits that no site has seen: {net.accuracy(images, labels):.3f}")

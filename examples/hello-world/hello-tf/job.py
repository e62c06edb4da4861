"""Train one Keras model on digits that stay at their sites."""

import argparse

from data import load_test
from model import keras, make_model

from flare_recipes_tf import FedAvgRecipe, set_params
from flare_runtime import SimEnv

parser = argparse.ArgumentParser()
parser.add_argument("--sites", type=int, default=3, help="number of sites that share the images")
parser.add_argument("--export", help="write the job into this folder instead of running it")
args = parser.parse_args()

keras.utils.set_random_seed(0)
recipe = FedAvgRecipe(
    name="hello-tf",
    min_clients=args.sites,
    num_rounds=10,
    initial_model=make_model(),
    train_script="client.py",
    train_args=f"--sites {args.sites}",
)
if args.export:
    print(recipe.export(args.export))
else:
    run = recipe.execute(SimEnv(num_clients=args.sites))
    model = make_model()
    set_params(model, run.load_model("global"))
    images, labels = load_test()
    _, accuracy = model.evaluate(images, labels, verbose=0)
    print(f"accuracy on {len(labels)} digits that no site has seen: {accuracy:.3f}")

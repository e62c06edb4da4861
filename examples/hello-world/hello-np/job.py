"""Fit one linear model to the data of four sites, with only NumPy."""

from data import SITES, largest_error

from flare_recipes_np import FedAvgRecipe
from flare_runtime import SimEnv

recipe = FedAvgRecipe(
    name="hello-np",
    min_clients=SITES,
    num_rounds=20,
    initial_model={"weights": [0.0, 0.0], "bias": [0.0]},
    train_script="client.py",
    train_args="--steps 5 --lr 0.1",
    key_metric="loss",
    key_metric_mode="min",
)
run = recipe.execute(SimEnv(num_clients=SITES))

model = run.load_model("global")
print(f"largest error of the model: {largest_error(model['weights'], model['bias']):.3f}")

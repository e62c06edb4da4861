"""Fit one linear model to the data of four sites, with numpy alone."""

from flare_recipes_np import FedAvgRecipe
from flare_runtime import SimEnv

recipe = FedAvgRecipe(
    name="hello-np",
    min_clients=4,
    num_rounds=10,
    initial_model={"weights": [0.0, 0.0], "bias": [0.0]},
    train_script="client.py",
    train_args="--steps 20 --lr 0.1",
    key_metric="loss",
    key_metric_mode="min",
)
run = recipe.execute(SimEnv(num_clients=4))

model = run.load_model("global")
print("true     weights [2, -3]  bias 1")
print(f"learned  weights {model['weights'].round(2).tolist()}  bias {model['bias'].round(2).item():g}")

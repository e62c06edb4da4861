"""Train across three hospitals and record metrics in TensorBoard, MLflow or Weights & Biases."""

import argparse

from data import SITES

from flare_core.recipes import add_experiment_tracking
from flare_recipes_np import FedAvgRecipe
from flare_runtime import SimEnv

VIEWERS = {
    "tensorboard": "tensorboard --logdir {run}/server/tensorboard",
    "mlflow": "mlflow ui --backend-store-uri sqlite:///{workspace}/mlflow.db",
    "wandb": "wandb sync {run}/server/wandb/offline-run-*",
}

parser = argparse.ArgumentParser()
parser.add_argument("--tracker", choices=VIEWERS, default="tensorboard")
parser.add_argument("--client-side", action="store_true", help="also record metrics at each site")
args = parser.parse_args()

recipe = FedAvgRecipe(
    name="experiment-tracking",
    min_clients=SITES,
    num_rounds=5,
    initial_model={"weights": [0.0] * 30, "bias": 0.0},
    train_script="client.py",
    train_args="--steps 10 --lr 0.1",
)
add_experiment_tracking(recipe, args.tracker, client_side=args.client_side)
run = recipe.execute(SimEnv(num_clients=SITES))

print(f"numbers   {len(run.metrics())}; look at them with")
folder = run.get_result()
print(VIEWERS[args.tracker].format(run=folder, workspace=folder.parent.parent))
best = run.summary()["best"]
print(f"accuracy on biopsies that were held out, round {best['round']}: {best['value']:.3f}")

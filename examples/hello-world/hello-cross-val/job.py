"""Train one network on digits, then evaluate it and every site's own on every site's data."""

import json

import torch
from model import Net

from flare_core.recipes import add_cross_site_evaluation
from flare_recipes_pt import FedAvgRecipe
from flare_runtime import SimEnv

torch.manual_seed(0)
recipe = FedAvgRecipe(
    name="hello-cross-val", min_clients=3, num_rounds=5, initial_model=Net(), train_script="client.py"
)
add_cross_site_evaluation(recipe)
run = recipe.execute(SimEnv(num_clients=3))
results = json.loads((run.get_result() / "server" / "cross_site_evaluation.json").read_text())
of_global = [models["global"]["accuracy"] for models in results.values()]
print(f"global model, mean over the sites: {sum(of_global) / len(of_global):.3f}")

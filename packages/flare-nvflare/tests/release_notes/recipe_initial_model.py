"""A recipe and its run, with the model as ``initial_model``."""

from model import SimpleNetwork

from nvflare.app_opt.pt.recipes import FedAvgRecipe
from nvflare.recipe import SimEnv

recipe = FedAvgRecipe(
    name="hello-pt",
    min_clients=2,
    num_rounds=5,
    initial_model=SimpleNetwork(),
    train_script="client.py",
)
env = SimEnv(num_clients=2)
run = recipe.execute(env)
assert run.get_result().endswith("hello-pt")

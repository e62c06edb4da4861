"""What takes the place of an executor of one's own: a recipe and a script."""

from model import MyModel

from nvflare.app_opt.pt.recipes import FedAvgRecipe
from nvflare.recipe import SimEnv

recipe = FedAvgRecipe(
    name="my-job",
    min_clients=2,
    num_rounds=5,
    initial_model=MyModel(),
    train_script="client.py",
)
env = SimEnv(num_clients=2)
recipe.execute(env)

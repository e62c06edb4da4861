from flare_core.recipes import add_experiment_tracking
from flare_flower import FlowerRecipe
from flare_runtime import SimEnv

recipe = FlowerRecipe(name="flower-tensorboard", flower_content="app", min_clients=2)
add_experiment_tracking(recipe, "tensorboard")
run = recipe.execute(SimEnv(num_clients=2))
steps = [row for row in run.metrics() if row["key"] == "step_loss"]
print("losses logged inside the ClientApps:", len(steps))

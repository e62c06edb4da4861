from flare_flower import FlowerRecipe
from flare_runtime import SimEnv

recipe = FlowerRecipe(name="hello-flower", flower_content="app", min_clients=2)
run = recipe.execute(SimEnv(num_clients=2))
print("weights:", run.load_model()["0"].round(4).tolist())

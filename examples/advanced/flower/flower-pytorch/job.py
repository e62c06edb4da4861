from flare_flower import FlowerRecipe
from flare_runtime import SimEnv

recipe = FlowerRecipe(name="flower-pytorch", flower_content="app", min_clients=2, run_config={"num-server-rounds": 3})
run = recipe.execute(SimEnv(num_clients=2))
log = (run.get_result() / "server" / "flower.txt").read_text()
print(*(line for line in log.splitlines() if line.startswith("accuracy")))

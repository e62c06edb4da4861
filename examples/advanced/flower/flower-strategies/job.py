import numpy as np

from flare_flower import FlowerRecipe
from flare_runtime import SimEnv

recipe = FlowerRecipe(name="flower-strategies", flower_content="app", min_clients=2)
run = recipe.execute(SimEnv(num_clients=2))
server = run.get_result() / "server"
print(*(line for line in (server / "flower.txt").read_text().splitlines() if line.startswith("largest error")))
print("checkpoint of round", int(np.load(server / "checkpoint.npz")["round"]))

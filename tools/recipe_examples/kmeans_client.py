import numpy as np

import flare_core.client as flare
from flare_recipes_sklearn import kmeans_step

flare.init()
rows = np.random.default_rng(int(flare.get_site_name()[-1])).normal(size=(200, 2))
rows[:100] += 5

while flare.is_running():
    flare.send(flare.FLModel(params=kmeans_step(flare.receive().params, rows)))

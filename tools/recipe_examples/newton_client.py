import numpy as np

import flare_core.client as flare
from flare_recipes_sklearn import newton_sums

flare.init()
generator = np.random.default_rng(int(flare.get_site_name()[-1]))
rows = generator.normal(size=(200, 2))
labels = (rows[:, 0] - rows[:, 1] + generator.normal(size=200) > 0).astype(int)

while flare.is_running():
    flare.send(flare.FLModel(params=newton_sums(flare.receive().params["weights"], rows, labels)))

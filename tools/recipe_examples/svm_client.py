import numpy as np

import flare_core.client as flare
from flare_recipes_sklearn import svm_step

flare.init()
rows = np.random.default_rng(int(flare.get_site_name()[-1])).normal(size=(200, 2))
labels = (rows[:, 0] > rows[:, 1]).astype(int)

while flare.is_running():
    params = svm_step(flare.receive().params, rows, labels, **flare.get_config()["svc"])
    flare.send(flare.FLModel(params=params))

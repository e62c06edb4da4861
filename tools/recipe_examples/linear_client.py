import numpy as np
from sklearn.linear_model import SGDClassifier

import flare_core.client as flare
from flare_recipes_sklearn import get_params, set_params

flare.init()
rows = np.random.default_rng(int(flare.get_site_name()[-1])).normal(size=(200, 2))
labels = (rows[:, 0] > rows[:, 1]).astype(int)
classes = flare.get_config()["classes"]
classifier = SGDClassifier(loss="log_loss", random_state=0)

while flare.is_running():
    set_params(classifier, flare.receive().params, classes=classes)
    metrics = {"accuracy": classifier.score(rows, labels)}
    classifier.partial_fit(rows, labels, classes=classes)
    flare.send(flare.FLModel(params=get_params(classifier), metrics=metrics))

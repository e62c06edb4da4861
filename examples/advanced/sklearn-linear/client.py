"""One site: in each round, one pass over its digits, which need not include all ten."""

from data import load_digits_of, load_site
from sklearn.linear_model import SGDClassifier

import flare_core.client as flare
from flare_recipes_sklearn import get_params, set_params

flare.init()
rows, labels = load_site(flare.get_site_name())
test_rows, test_labels = load_digits_of("test")
classes = flare.get_config()["classes"]
estimator = SGDClassifier(loss="log_loss", learning_rate="constant", eta0=0.05, random_state=0)

while flare.is_running():
    model = flare.receive()
    set_params(estimator, model.params, classes=classes)
    accuracy = estimator.score(test_rows, test_labels)  # of the received model
    estimator.partial_fit(rows, labels)
    flare.send(
        flare.FLModel(
            params=get_params(estimator, classes=classes),
            metrics={"accuracy": accuracy},
            meta={"NUM_STEPS_CURRENT_ROUND": len(rows)},
        )
    )

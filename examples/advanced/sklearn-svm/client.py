"""One site: finds support vectors among its own patients and those received."""

from data import load_part, load_site

import flare_core.client as flare
from flare_recipes_sklearn import svm_of, svm_step

flare.init()
rows, labels = load_site(flare.get_site_name())
svc = flare.get_config()["svc"]

while flare.is_running():
    model = flare.receive()
    metrics = {"accuracy": svm_of(model.params, **svc).score(*load_part("test"))} if model.params else None
    flare.send(flare.FLModel(params=svm_step(model.params, rows, labels, **svc), metrics=metrics))

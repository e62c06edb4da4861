"""One site: assigns its flowers to the nearest centres."""

from data import inertia, load_site

import flare_core.client as flare
from flare_recipes_sklearn import kmeans_step

flare.init()
rows = load_site(flare.get_site_name())

while flare.is_running():
    model = flare.receive()
    metrics = {"inertia": inertia(rows, model.params["centers"])} if "centers" in model.params else None
    flare.send(
        flare.FLModel(
            params=kmeans_step(model.params, rows),
            metrics=metrics,
            meta={"NUM_STEPS_CURRENT_ROUND": len(rows)},
        )
    )

"""Each site moves the model halfway to its own numbers, and measures the distance to them."""

import numpy as np

import flare_core.client as flare

flare.init()
own = np.array({"site-1": [1.0, 2.0], "site-2": [3.0, 6.0]}[flare.get_site_name()])

while flare.is_running():
    received = flare.receive()
    if flare.is_submit_model():
        flare.send(flare.FLModel(params={"w": own}))
        continue
    w = received.params["w"]
    metrics = {"loss": float(((w - own) ** 2).mean())}
    if flare.is_evaluate():
        flare.send(flare.FLModel(metrics=metrics))
    else:
        flare.send(flare.FLModel(params={"w": w + (own - w) / 2}, metrics=metrics))

import torch

import nvflare.client as flare

flare.init()
while flare.is_running():
    model = flare.receive()
    params = model.params
    with torch.no_grad():
        for value in params.values():
            value += 1.0
    print("first", float(next(iter(params.values())).flatten()[0]), flush=True)
    flare.send(flare.FLModel(params=params, params_type="FULL", metrics={"accuracy": 0.5}))

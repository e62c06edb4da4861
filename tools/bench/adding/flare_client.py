import flare_core.client as flare

flare.init()
while flare.is_running():
    model = flare.receive()
    for array in model.params.values():
        array += 1.0
    flare.send(model)

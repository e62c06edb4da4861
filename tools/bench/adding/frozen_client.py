import flare_core.client as flare

flare.init()
while flare.is_running():
    model = flare.receive()
    for name, array in model.params.items():
        if name.startswith("adapter"):
            array += 1.0
    flare.send(model)

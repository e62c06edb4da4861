"""One site: trains, submits its own model on request, and evaluates other models."""

from data import load_site
from model import Net
from train import accuracy, train

import flare_core.client as flare

flare.init()
images, labels = load_site(flare.get_site_name(), 3)
held_out = len(labels) // 5
net, own = Net(), None

while flare.is_running():
    received = flare.receive()
    if flare.is_submit_model():
        flare.send(flare.FLModel(params=own))
        continue
    net.load_state_dict(received.params)
    metrics = {"accuracy": accuracy(net, images[:held_out], labels[:held_out])}  # of the received model
    if flare.is_evaluate():
        flare.send(flare.FLModel(metrics=metrics))
        continue
    train(net, images[held_out:], labels[held_out:], epochs=2)
    own = {name: value.clone() for name, value in net.state_dict().items()}
    flare.send(flare.FLModel(params=own, metrics=metrics, meta={"NUM_STEPS_CURRENT_ROUND": len(labels) - held_out}))

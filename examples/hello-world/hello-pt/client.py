"""One site: an ordinary PyTorch training loop that receives and sends the model."""

import argparse

from data import load_site
from model import Net
from train import accuracy, train

import flare_core.client as flare

parser = argparse.ArgumentParser()
parser.add_argument("--sites", type=int, default=3)
args = parser.parse_args()

flare.init()
images, labels = load_site(flare.get_site_name(), args.sites)
held_out = len(labels) // 5
net = Net()

while flare.is_running():
    received = flare.receive()
    net.load_state_dict(received.params)
    score = accuracy(net, images[:held_out], labels[:held_out])  # of the received model
    train(net, images[held_out:], labels[held_out:], epochs=2)
    flare.send(
        flare.FLModel(
            params=net.state_dict(),
            metrics={"accuracy": score},
            meta={"NUM_STEPS_CURRENT_ROUND": len(labels) - held_out},
        )
    )

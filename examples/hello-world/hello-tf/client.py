"""One site: ordinary Keras training that receives and sends the model."""

import argparse

from data import load_site
from model import make_model

import flare_core.client as flare
from flare_recipes_tf import get_params, set_params

parser = argparse.ArgumentParser()
parser.add_argument("--sites", type=int, default=3)
args = parser.parse_args()

flare.init()
images, labels = load_site(flare.get_site_name(), args.sites)
held_out = len(labels) // 5
model = make_model()

while flare.is_running():
    set_params(model, flare.receive().params)
    _, score = model.evaluate(images[:held_out], labels[:held_out], verbose=0)  # of the received model
    model.fit(images[held_out:], labels[held_out:], batch_size=32, epochs=2, verbose=0)
    flare.send(
        flare.FLModel(
            params=get_params(model),
            metrics={"accuracy": score},
            meta={"NUM_STEPS_CURRENT_ROUND": len(labels) - held_out},
        )
    )

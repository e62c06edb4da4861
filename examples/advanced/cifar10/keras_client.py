"""One site, with Keras: local training, and the additions of each algorithm."""

import argparse

from data import batches, load_site
from keras_model import keras, make_model, make_step

import flare_core.client as flare
from flare_recipes_tf import ProximalLoss, Scaffold, get_params, set_params

parser = argparse.ArgumentParser()
parser.add_argument("--algorithm", choices=["fedavg", "fedprox", "fedopt", "scaffold"], default="fedavg")
parser.add_argument("--alpha", type=float, default=0.3)
parser.add_argument("--sites", type=int, default=10)
parser.add_argument("--steps", type=int, default=20)
parser.add_argument("--lr", type=float, default=0.02)
parser.add_argument("--mu", type=float, default=0.01)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--data")
args = parser.parse_args()

flare.init()
number = int(flare.get_site_name().removeprefix("site-"))
images, labels = load_site(number, args.sites, args.alpha, args.seed, args.data)
model = make_model()
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
proximal = ProximalLoss(loss, model, mu=args.mu) if args.algorithm == "fedprox" else None
scaffold = Scaffold(model) if args.algorithm == "scaffold" else None
step = make_step(model, proximal or loss, args.lr, scaffold.correct if scaffold else list)

while flare.is_running():
    received = flare.receive()
    set_params(model, received.params)
    for helper in (proximal, scaffold):
        if helper:
            helper.start(received)
    for x, y in batches(images, labels, args.steps, seed=[args.seed, number, received.current_round]):
        step(x, y)
    controls = scaffold.finish(args.steps, args.lr) if scaffold else None
    flare.send(
        flare.FLModel(
            params=get_params(model), optimizer_params=controls, meta={"NUM_STEPS_CURRENT_ROUND": len(labels)}
        )
    )

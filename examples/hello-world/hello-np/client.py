"""One site: gradient descent on data that never leaves it."""

import argparse

import numpy as np
from data import load_site

import flare_core.client as flare

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=20)
parser.add_argument("--lr", type=float, default=0.1)
args = parser.parse_args()

flare.init()
x, y = load_site(flare.get_site_name())

while flare.is_running():
    model = flare.receive()
    weights, bias = model.params["weights"], model.params["bias"]
    loss = np.mean((x @ weights + bias - y) ** 2)  # of the received model
    for _ in range(args.steps):
        error = x @ weights + bias - y
        weights -= args.lr * (error @ x) / len(x)
        bias -= args.lr * error.mean()
    flare.send(
        flare.FLModel(
            params={"weights": weights, "bias": bias},
            metrics={"loss": loss},
            meta={"NUM_STEPS_CURRENT_ROUND": len(x)},
        )
    )

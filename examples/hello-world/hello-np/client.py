"""One site: gradient descent on data that never leave it."""

import argparse

import numpy as np

import flare_core.client as flare

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=20)
parser.add_argument("--lr", type=float, default=0.1)
args = parser.parse_args()

flare.init()

# Every site has its own number of rows, and its own part of the range of x.
number = int(flare.get_site_name().removeprefix("site-"))
generator = np.random.default_rng(number)
x = generator.normal(loc=number - 2.5, size=(100 * number, 2))
y = x @ [2.0, -3.0] + 1.0 + generator.normal(scale=0.1, size=len(x))

while flare.is_running():
    model = flare.receive()
    weights, bias = model.params["weights"], model.params["bias"]
    loss = np.mean((x @ weights + bias - y) ** 2)  # of the model as it came
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

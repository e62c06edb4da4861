"""One hospital: logistic regression, with metrics for an experiment tracker."""

import argparse

import numpy as np
from data import load_site

import flare_core.client as flare
from flare_core.client.tracking import MLflowWriter, SummaryWriter

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=10)
parser.add_argument("--lr", type=float, default=0.1)
args = parser.parse_args()


def predict(x):
    return 1 / (1 + np.exp(-(x @ weights + bias)))


flare.init()
(x, benign), (test_x, test_benign) = load_site(flare.get_site_name())

# Any writer works with any tracker.
settings = MLflowWriter()
settings.log_params({"lr": args.lr, "rows": len(x)})
writer = SummaryWriter()

while flare.is_running():
    model = flare.receive()
    weights, bias = model.params["weights"], model.params["bias"]
    accuracy = np.mean((predict(test_x) > 0.5) == test_benign)  # of the received model
    for step in range(args.steps):
        error = predict(x) - benign
        loss = -np.mean(np.log(np.where(benign, predict(x), 1 - predict(x))))
        writer.add_scalar("loss", loss, global_step=model.current_round * args.steps + step)
        weights -= args.lr * (error @ x) / len(x)
        bias -= args.lr * error.mean()
    flare.send(
        flare.FLModel(
            params={"weights": weights, "bias": bias},
            metrics={"accuracy": accuracy},  # tracked by round and averaged over the sites, without a writer
            meta={"NUM_STEPS_CURRENT_ROUND": len(x)},
        )
    )

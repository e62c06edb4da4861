"""The ClientApp. Inside Flare it also logs the loss after every step; with ``flwr run`` it does not."""

import os

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from flower_tensorboard.task import load_data, loss, train

IN_FLARE = "FLARE_CHANNEL" in os.environ
if IN_FLARE:
    import flare_core.client as flare

    flare.init()

app = ClientApp()


@app.train()
def train_(message: Message, context: Context) -> Message:
    rows, targets = load_data(int(context.node_config["partition-id"]))
    weights = message.content["arrays"]["weights"].numpy()
    round_ = int(message.content["config"]["server-round"])
    for step in range(4):
        weights = train(weights, rows, targets)
        if IN_FLARE:
            flare.log("step_loss", loss(weights, rows, targets), global_step=4 * (round_ - 1) + step)
    metrics = MetricRecord({"train_loss": loss(weights, rows, targets), "num-examples": len(rows)})
    return Message(RecordDict({"arrays": arrays(weights), "metrics": metrics}), reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    rows, targets = load_data(int(context.node_config["partition-id"]))
    weights = message.content["arrays"]["weights"].numpy()
    metrics = MetricRecord({"eval_loss": loss(weights, rows, targets), "num-examples": len(rows)})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)


def arrays(weights: np.ndarray) -> ArrayRecord:
    return ArrayRecord({"weights": Array(weights)})

"""The ClientApp, with two mods: one of Flower's, which logs sizes, and one that clips a site's update."""

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.mod import message_size_mod
from flwr.clientapp.typing import ClientAppCallable

from flower_strategies.task import load_data, loss, train


def clip_mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Limit how far a site may move the model."""
    before = message.content["arrays"]["weights"].numpy().copy()
    reply = call_next(message, context)
    update = reply.content["arrays"]["weights"].numpy() - before
    update *= min(1.0, float(context.run_config["clip"]) / float(np.linalg.norm(update)))
    reply.content["arrays"] = arrays(before + update)
    return reply


app = ClientApp(mods=[message_size_mod])


@app.train(mods=[clip_mod])
def train_(message: Message, context: Context) -> Message:
    rows, targets = load_data(int(context.node_config["partition-id"]))
    weights = train(message.content["arrays"]["weights"].numpy(), rows, targets)
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

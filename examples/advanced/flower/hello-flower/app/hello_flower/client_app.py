"""The ClientApp: trains and evaluates with the data of its site."""

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from hello_flower.task import load_data, loss, train

app = ClientApp()


@app.train()
def train_(message: Message, context: Context) -> Message:
    rows, targets = load_data(int(context.node_config["partition-id"]))
    (weights,) = message.content["arrays"].to_numpy_ndarrays()
    weights = train(weights, rows, targets, float(context.run_config["learning-rate"]))
    metrics = MetricRecord({"train_loss": loss(weights, rows, targets), "num-examples": len(rows)})
    return Message(RecordDict({"arrays": ArrayRecord([weights]), "metrics": metrics}), reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    rows, targets = load_data(int(context.node_config["partition-id"]))
    (weights,) = message.content["arrays"].to_numpy_ndarrays()
    metrics = MetricRecord({"eval_loss": loss(weights, rows, targets), "num-examples": len(rows)})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)

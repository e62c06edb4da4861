"""The ClientApp: trains and evaluates the network with the digits of its site."""

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from flower_pytorch.task import Net, accuracy, load_data, train

app = ClientApp()
torch.set_num_threads(1)  # the same sums on every machine


@app.train()
def train_(message: Message, context: Context) -> Message:
    net, images, labels = prepared(message, context)
    config = context.run_config
    loss = train(net, images, labels, int(config["local-epochs"]), float(config["learning-rate"]))
    metrics = MetricRecord({"train_loss": loss, "num-examples": len(labels)})
    content = RecordDict({"arrays": ArrayRecord(net.state_dict()), "metrics": metrics})
    return Message(content, reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    net, images, labels = prepared(message, context)
    metrics = MetricRecord({"accuracy": accuracy(net, images, labels), "num-examples": len(labels)})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)


def prepared(message: Message, context: Context) -> tuple[Net, torch.Tensor, torch.Tensor]:
    net = Net()
    net.load_state_dict(message.content["arrays"].to_torch_state_dict())
    node = context.node_config
    return net, *load_data(int(node["partition-id"]), int(node["num-partitions"]))

import os
import signal
import threading
from pathlib import Path

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from probe_help.steps import step

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    partition = int(context.node_config["partition-id"])
    config = context.run_config
    round_ = int(message.content["config"]["server-round"])
    if config["behavior"] != "ok" and round_ == config["at-round"] and config["partition"] in (partition, -1):
        behave(str(config["behavior"]), Path(str(config["mark"])), partition)
    arrays = [step(each, partition) for each in message.content["arrays"].to_numpy_ndarrays()]
    metrics = MetricRecord({"mean": float(arrays[0].mean()), "num-examples": partition + 1})
    return Message(RecordDict({"arrays": ArrayRecord(arrays), "metrics": metrics}), reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    arrays = message.content["arrays"].to_numpy_ndarrays()
    metrics = MetricRecord({"score": float(arrays[0].sum()), "num-examples": 1})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)


def behave(behavior: str, mark: Path, partition: int) -> None:
    if behavior == "raise":
        raise ValueError("the rows of this site are broken")
    if behavior == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if behavior == "flare":
        import flare_core.client as flare

        flare.init()
        flare.log("inside", float(flare.get_config()["rows"]))
        print("site name:", flare.get_site_name())
    if behavior in ("hang", "pause"):
        (mark / f"reached-{partition}").write_text(str(os.getpid()))
        if behavior == "hang":
            threading.Event().wait()
        with (mark / "go").open() as go:  # a FIFO: returns when the test has written to it
            go.read()

"""The ServerApp: federated averaging, and the final network in a file."""

import hashlib

import torch
from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from flower_pytorch.task import HELD_OUT, Net, accuracy, digits

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    torch.manual_seed(0)
    result = FedAvg().start(
        grid=grid,
        initial_arrays=ArrayRecord(Net().state_dict()),
        num_rounds=int(context.run_config["num-server-rounds"]),
    )
    state = result.arrays.to_torch_state_dict()
    torch.save(state, "final_model.pt")
    net = Net()
    net.load_state_dict(state)
    images, labels = digits()
    print(f"accuracy on {HELD_OUT} digits: {accuracy(net, images[-HELD_OUT:], labels[-HELD_OUT:]):.3f}")
    print("sha256:", hashlib.sha256(b"".join(each.numpy().tobytes() for each in state.values())).hexdigest())

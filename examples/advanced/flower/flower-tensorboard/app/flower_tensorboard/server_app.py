"""The ServerApp: federated averaging."""

import hashlib

import numpy as np
from flwr.app import Array, ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from flower_tensorboard.task import TRUE_WEIGHTS

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    result = FedAvg().start(
        grid=grid,
        initial_arrays=ArrayRecord({"weights": Array(np.zeros(len(TRUE_WEIGHTS)))}),
        num_rounds=int(context.run_config["num-server-rounds"]),
    )
    print("sha256:", hashlib.sha256(result.arrays["weights"].numpy().tobytes()).hexdigest())

"""The ServerApp: federated averaging."""

import hashlib

import numpy as np
from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    strategy = FedAvg(min_available_nodes=2)
    result = strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord([np.zeros(3)]),
        num_rounds=int(context.run_config["num-server-rounds"]),
    )
    (weights,) = result.arrays.to_numpy_ndarrays()
    print("weights:", weights.round(4).tolist())
    print("sha256:", hashlib.sha256(weights.tobytes()).hexdigest())
    try:
        from flare_flower import keep_model

        keep_model(result.arrays)
    except ImportError:
        pass  # without Flare

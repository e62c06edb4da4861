"""The ServerApp: FedAdam, evaluation at the server after each round, and a checkpoint of the best model."""

import hashlib

import numpy as np
from flwr.app import Array, ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAdam

from flower_strategies.task import TRUE_WEIGHTS

app = ServerApp()
best = float("inf")


@app.main()
def main(grid: Grid, context: Context) -> None:
    strategy = FedAdam(eta=0.5, tau=1e-2)
    result = strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord({"weights": Array(np.zeros(len(TRUE_WEIGHTS)))}),
        num_rounds=int(context.run_config["num-server-rounds"]),
        evaluate_fn=evaluate,
    )
    weights = result.arrays["weights"].numpy()
    print("largest error:", float(np.abs(weights - TRUE_WEIGHTS).max().round(3)))
    print("sha256:", hashlib.sha256(weights.tobytes()).hexdigest())


def evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord:
    """Compare the weights with the true ones, and keep the best in ``checkpoint.npz``."""
    global best
    weights = arrays["weights"].numpy()
    error = float(np.abs(weights - TRUE_WEIGHTS).max())
    if error < best:
        best = error
        np.savez("checkpoint.npz", weights=weights, round=server_round)
    return MetricRecord({"error": error})

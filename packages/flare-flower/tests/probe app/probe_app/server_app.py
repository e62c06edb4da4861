import hashlib
from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    config = context.run_config
    if config["behavior"] == "server-raise":
        raise RuntimeError("the ServerApp has a bug")
    draw = np.random.default_rng(int(config["seed"]))
    arrays = ArrayRecord([draw.random(int(config["size"]), dtype=np.float32), draw.random((3, 2))])
    strategy = FedAvg(min_available_nodes=int(config["nodes"]), min_train_nodes=2, min_evaluate_nodes=2)
    result = strategy.start(grid=grid, initial_arrays=arrays, num_rounds=int(config["rounds"]))
    digest = hashlib.sha256(b"".join(each.tobytes() for each in result.arrays.to_numpy_ndarrays()))
    print("sha256:", digest.hexdigest(), flush=True)
    Path("hash.txt").write_text(digest.hexdigest())

import sys
import time

import numpy as np
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

clients, rounds, mib = map(int, sys.argv[1:4])
client = ClientApp()
server = ServerApp()


@client.train()
def add(message, context):
    arrays = message.content["arrays"].to_numpy_ndarrays()
    reply = {"arrays": ArrayRecord([array + 1.0 for array in arrays]), "metrics": MetricRecord({"num-examples": 1})}
    return Message(content=RecordDict(reply), reply_to=message)


@server.main()
def main(grid, context):
    shapes = [(mib * 8, 1024)] * 32 if mib else [(10,)]
    strategy = FedAvg(fraction_train=1.0, fraction_evaluate=0.0, min_train_nodes=clients, min_available_nodes=clients)
    arrays = ArrayRecord([np.zeros(shape, np.float32) for shape in shapes])
    began = time.monotonic()
    result = strategy.start(grid=grid, initial_arrays=arrays, num_rounds=rounds)
    print("loop", time.monotonic() - began)
    print("first", result.arrays.to_numpy_ndarrays()[0].flat[0], flush=True)


run_simulation(
    server_app=server, client_app=client, num_supernodes=clients, backend_config={"client_resources": {"num_cpus": 1}}
)

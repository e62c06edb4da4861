import sys

from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
from task import ROUNDS, accuracy, first_net, load_client, make_net, train

clients = int(sys.argv[1])
client = ClientApp()
server = ServerApp()


@client.train()
def fit(message, context):
    number = int(context.node_config["partition-id"]) + 1
    net = make_net()
    net.load_state_dict(message.content["arrays"].to_torch_state_dict())
    current_round = message.content["config"]["server-round"] - 1
    train(net, *load_client(number), number, current_round)
    reply = RecordDict({"arrays": ArrayRecord(net.state_dict()), "metrics": MetricRecord({"num-examples": 1})})
    return Message(content=reply, reply_to=message)


@server.main()
def main(grid, context):
    strategy = FedAvg(fraction_train=1.0, fraction_evaluate=0.0, min_train_nodes=clients, min_available_nodes=clients)
    result = strategy.start(grid=grid, initial_arrays=ArrayRecord(first_net().state_dict()), num_rounds=ROUNDS)
    net = make_net()
    net.load_state_dict(result.arrays.to_torch_state_dict())
    print("accuracy", accuracy(net), flush=True)


run_simulation(
    server_app=server, client_app=client, num_supernodes=clients, backend_config={"client_resources": {"num_cpus": 1}}
)

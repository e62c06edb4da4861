"""PTFedAvg by its name."""

from nvflare.app_opt.pt.fedavg import PTFedAvg

controller = PTFedAvg(
    num_clients=2,
    num_rounds=5,
)

"""The old name of PTFedAvg."""

from nvflare.app_opt.pt.fedavg_early_stopping import PTFedAvgEarlyStopping

controller = PTFedAvgEarlyStopping(
    num_clients=2,
    num_rounds=5,
)

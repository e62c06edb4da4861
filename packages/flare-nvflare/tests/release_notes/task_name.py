"""The argument task_name."""

from nvflare.app_common.workflows.fedavg import FedAvg

controller = FedAvg(
    num_clients=2,
    num_rounds=5,
    task_name="train",
)

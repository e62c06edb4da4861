"""Receivers: observers that write the metrics of a run to experiment trackers.

Each needs the package of its tracker, which is an extra of flare-runtime and is imported only where the receiver runs.
"""

from flare_runtime.tracking.mlflow import MLflowReceiver
from flare_runtime.tracking.tensorboard import TensorBoardReceiver
from flare_runtime.tracking.wandb import WandBReceiver

__all__ = ["MLflowReceiver", "TensorBoardReceiver", "WandBReceiver"]

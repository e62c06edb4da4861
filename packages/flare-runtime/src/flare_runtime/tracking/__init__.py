"""Receivers: observers that write the numbers of a run where experiment trackers show them.

Each needs its tracker's package, an extra of flare-runtime, and imports it where it writes and nowhere else.
"""

from flare_runtime.tracking.mlflow import MLflowReceiver
from flare_runtime.tracking.receiver import Entry, Receiver
from flare_runtime.tracking.tensorboard import TensorBoardReceiver
from flare_runtime.tracking.wandb import WandBReceiver

__all__ = ["Entry", "MLflowReceiver", "Receiver", "TensorBoardReceiver", "WandBReceiver"]

"""The old place of PTFedAvgEarlyStopping."""

from nvflare.app_opt.pt.fedavg import PTFedAvgEarlyStopping

__all__ = ["PTFedAvgEarlyStopping"]

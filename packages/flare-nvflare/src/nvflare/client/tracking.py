"""Writers with the interfaces of experiment trackers."""

from flare_core.client.tracking import MLflowWriter, SummaryWriter, WandBWriter

__all__ = ["MLflowWriter", "SummaryWriter", "WandBWriter"]

"""TBWriter, which scripts of 2.2 used in the place of SummaryWriter."""

from nvflare.client.tracking import SummaryWriter as TBWriter

__all__ = ["TBWriter"]

"""Vertical training: sites with different columns of the same rows grow each tree together."""

from flare_xgb.vertical.executor import VerticalExecutor
from flare_xgb.vertical.part import ModelPart
from flare_xgb.vertical.workflow import Vertical

__all__ = ["ModelPart", "Vertical", "VerticalExecutor"]

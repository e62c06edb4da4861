"""Horizontal training: sites with rows of the same columns grow each tree together."""

from flare_xgb.horizontal.executor import HorizontalExecutor
from flare_xgb.horizontal.workflow import Horizontal

__all__ = ["Horizontal", "HorizontalExecutor"]

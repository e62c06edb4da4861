"""Stands in for torchvision, where it cannot be imported: synthetic pictures of ten classes, and a few transforms."""

from . import datasets, models, transforms

__all__ = ["datasets", "models", "transforms"]
__version__ = "0.0"

"""Stands in for torchvision, where it cannot be imported: synthetic pictures of ten classes, and a few transforms."""

from . import datasets, transforms

__all__ = ["datasets", "transforms"]

"""Flower apps as jobs of a Flare federation, unchanged."""

from flare_flower.model import keep_model
from flare_flower.recipe import FlowerRecipe

__all__ = ["FlowerRecipe", "keep_model"]

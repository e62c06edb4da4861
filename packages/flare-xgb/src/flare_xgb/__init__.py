"""Federated gradient-boosted trees that equal XGBoost's."""

from flare_xgb.data import Columns, DataError, DataLoader, FileLoader, LibsvmLoader, Table
from flare_xgb.recipes import XGBBaggingRecipe, XGBHorizontalRecipe, XGBVerticalRecipe

__all__ = [
    "Columns",
    "DataError",
    "DataLoader",
    "FileLoader",
    "LibsvmLoader",
    "Table",
    "XGBBaggingRecipe",
    "XGBHorizontalRecipe",
    "XGBVerticalRecipe",
]

"""The result of a training: the model as checkpoint, as file of XGBoost, and the importance of its features."""

from __future__ import annotations

import json

import numpy as np

from flare_core import Federation, FLModel
from flare_xgb.data import Schema
from flare_xgb.engine.model import Model

_MOST_FEATURES = 20  # in the table of importance


def saved(model: Model) -> FLModel:
    """Return a model as a checkpoint, whose param ``model`` holds the bytes of XGBoost's UBJ file."""
    return FLModel(params={"model": np.frombuffer(model.to_ubj(), np.uint8).copy()})


def write_model(fed: Federation, model: Model, schema: Schema, name: str = "model.json") -> None:
    """Write XGBoost's file of a model to the server's folder, and show which features it uses.

    ``categories.json`` beside it holds the categories of each categorical column, in the order of their codes.

    Args:
        fed: the federation.
        model: the model.
        schema: the columns of all sites.
        name: of the file, which is JSON.
    """
    fed.write(name, model.to_json().decode())
    if schema.categories:
        categories = {schema.name(feature): list(each) for feature, each in schema.categories.items()}
        fed.write("categories.json", json.dumps(categories, ensure_ascii=False))
    splits, gains = (model.importance(kind) for kind in ("weight", "gain"))
    order = sorted(gains, key=lambda feature: -gains[feature])[:_MOST_FEATURES]
    rows = [(feature, f"{gains[feature]:.4g}", f"{splits[feature]:.0f}") for feature in order]
    if rows:
        fed.show("Importance of features", ["feature", "gain", "splits"], rows)
    else:
        fed.warn("no tree has a split: no column improves the predictions enough, or the parameters forbid it")

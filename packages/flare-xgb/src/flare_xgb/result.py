"""The result of a training: the model as checkpoint, as file of XGBoost, and the importance of its features."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np

from flare_core import Federation, FLModel
from flare_xgb.data import Schema
from flare_xgb.engine.model import Model

_MOST_FEATURES = 20  # in the table of importance
_MOST_BARS, _BAR = 10, 24  # of the plot of gains: how many, and the longest in characters


def saved(model: Model) -> FLModel:
    """Return a model as a checkpoint, whose param ``model`` holds the bytes of XGBoost's UBJ file."""
    return FLModel(params={"model": np.frombuffer(for_any_version(model).to_ubj(), np.uint8).copy()})


def for_any_version(model: Model) -> Model:
    """Return an equal model that XGBoost before 3.1, too, reads as it is meant.

    Those versions know one base score only; where the outputs have several, the first trees take them in. Margins keep
    every bit.
    """
    return model.with_one_base_score() if model.trees else model


def write_model(fed: Federation, model: Model, schema: Schema, name: str = "model.json") -> None:
    """Write XGBoost's file of a model to the server's folder, and show which features it uses.

    XGBoost 2.0 and later open the file. ``categories.json`` beside it holds the categories of each categorical column,
    in the order of their codes.

    Args:
        fed: the federation.
        model: the model.
        schema: the columns of all sites.
        name: of the file, which is JSON.
    """
    fed.write(name, for_any_version(model).to_json().decode())
    if schema.categories:
        categories = {schema.name(feature): list(each) for feature, each in schema.categories.items()}
        fed.write("categories.json", json.dumps(categories, ensure_ascii=False))
    splits, gains = (model.importance(kind) for kind in ("weight", "gain"))
    order = sorted(gains, key=lambda feature: -gains[feature])[:_MOST_FEATURES]
    rows = [(feature, f"{gains[feature]:.4g}", f"{splits[feature]:.0f}") for feature in order]
    if rows:
        fed.show("Importance of features", ["feature", "gain", "splits"], rows)
        fed.show("Gain of the trees", ["rounds", "gain a round", ""], _gains(model))
    else:
        fed.warn("no tree has a split: no column improves the predictions enough, or the parameters forbid it")


def _gains(model: Model) -> list[tuple[str, str, str]]:
    """Return a plot of how much the trees of a round improve the objective, as rows of a table."""
    gains = [
        sum(float(tree.loss_change.sum()) for tree in model.trees[begin:end]) for begin, end in pairwise(model.rounds)
    ]
    parts = np.array_split(np.arange(len(gains)), min(len(gains), _MOST_BARS))
    means = [float(np.mean([gains[round_] for round_ in part])) for part in parts]
    return [
        (
            f"{part[0]}" if len(part) == 1 else f"{part[0]} to {part[-1]}",
            f"{mean:.4g}",
            ("█" * round(_BAR * mean / max(means))).ljust(_BAR),  # numbers in tables are aligned right, bars left
        )
        for part, mean in zip(parts, means, strict=True)
    ]

"""XGBoost's own objectives, as its trees tell of them: gradients of rows, base scores."""

from __future__ import annotations

import json

import numpy as np
import xgboost

from flare_xgb.objectives import Targets

LAMBDA = 2.0**50  # so great that a leaf is −g / lambda, a shift of the exponent


def matrix(rows, features=None, margins=None):
    n = int(rows.group_starts[-1])
    return xgboost.DMatrix(
        np.zeros((n, 1), np.float32) if features is None else features,
        rows.label,
        weight=rows.weight,
        base_margin=margins,
        qid=rows.qid,
        label_lower_bound=rows.label_lower_bound,
        label_upper_bound=rows.label_upper_bound,
    )


def trees_of(booster):
    return json.loads(booster.save_raw("json"))["learner"]["gradient_booster"]["model"]["trees"]


def gradients_of_xgboost(name, parameters, margins, rows):
    """Train on each row alone, from its margin: the root of a tree tells the row's gradient, bit for bit."""
    parameters = {**parameters, "objective": name, "lambda": LAMBDA, "eta": 1, "min_child_weight": 0, "nthread": 1}
    columns = {each: getattr(rows, each) for each in ("label", "weight", "label_lower_bound", "label_upper_bound")}
    out = np.empty((2, *margins.shape), np.float32)
    for i in range(len(margins)):
        one = Targets(**{each: None if column is None else column[i : i + 1] for each, column in columns.items()})
        for k, tree in enumerate(trees_of(xgboost.train(parameters, matrix(one, margins=margins[i : i + 1]), 1))):
            out[0, i, k] = -np.float32(tree["base_weights"][0]) * np.float32(LAMBDA)
            out[1, i, k] = np.float32(tree["sum_hessian"][0])
    return out


def base_score_of(booster):
    text = json.loads(booster.save_config())["learner"]["learner_model_param"]["base_score"]
    return np.array(json.loads(text), np.float32).reshape(-1)

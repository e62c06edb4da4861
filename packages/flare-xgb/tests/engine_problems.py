"""Random problems for the tests of the engine: rows, labels and parameters, as tables and as XGBoost's matrices."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import xgboost

from flare_xgb.data import Table
from flare_xgb.engine.cuts import Cuts

FIXED = {"tree_method": "hist", "nthread": 1, "verbosity": 0}


@dataclass(frozen=True)
class Problem:
    """Rows and parameters drawn at random."""

    features: npt.NDArray[np.float32]
    label: npt.NDArray[np.float32]
    weight: npt.NDArray[np.float32] | None
    categorical: npt.NDArray[np.bool_]
    params: dict[str, Any]

    @property
    def types(self) -> list[str]:
        return ["c" if one else "q" for one in self.categorical]

    def matrix(self) -> xgboost.DMatrix:
        return xgboost.DMatrix(
            self.features, self.label, weight=self.weight, feature_types=self.types, enable_categorical=True
        )

    def cuts(self, data: xgboost.DMatrix) -> Cuts:
        """Return the cuts of a matrix that has been trained on."""
        return Cuts.from_xgboost(*data.get_quantile_cut(), self.categorical)

    def table(self, cuts: Cuts) -> Table:
        categories = {int(at): list(range(len(cuts.edges(at)))) for at in np.flatnonzero(self.categorical)}
        return Table.of(self.features, self.label, weight=self.weight, types=self.types, categories=categories)

    def with_loss(self, loss: str) -> Problem:
        """Return the problem with labels for another objective."""
        rng = np.random.default_rng(len(self.label))
        signal = np.clip(self.label / max(float(self.label.std()), 1e-9), -4, 4)
        params = {**self.params, "objective": loss}
        label: Any = signal
        if loss.startswith("multi"):
            label, params["num_class"] = np.clip(np.round(signal + 1), 0, 2), 3
        elif "logi" in loss or loss == "binary:hinge":
            label = signal > 0
        elif loss == "count:poisson":
            label = rng.poisson(np.exp(signal / 2))
        elif loss == "reg:tweedie":
            label = rng.poisson(np.exp(signal / 2)) * rng.gamma(1.0, size=len(signal))
        elif loss == "reg:gamma":
            label = np.exp(signal / 2)
        elif loss == "reg:quantileerror":
            params["quantile_alpha"] = [0.2, 0.7]
        # Sums of these weights are exact, in any order: see ``objectives.quantiles``.
        if loss in ("count:poisson", "reg:tweedie", "reg:gamma"):  # larger steps lead to infinite means
            params.update(eta=0.3, reg_lambda=1.0)
            label = np.append(label[:-1], 1.0)  # the mean must not be 0
        elif params["reg_lambda"] == 0:  # else Hessians near 0 are divided by
            params["min_child_weight"] = max(params["min_child_weight"], 1.0)
        weight = None if self.weight is None else np.maximum(self.weight, np.float32(0.5))
        return replace(self, label=label.astype(np.float32), weight=weight, params=params)


def problem(seed: int) -> Problem:
    rng = np.random.default_rng(seed)
    rows, width = int(rng.integers(1, 400)), int(rng.integers(1, 7))
    features = rng.normal(size=(rows, width)).astype(np.float32)
    for at in range(width):
        if rng.random() < 0.5:
            features[:, at] = np.round(features[:, at] * rng.integers(1, 20))
    categorical = rng.random(width) < rng.choice([0, 0.4])
    for at in np.flatnonzero(categorical):
        features[:, at] = rng.integers(0, rng.integers(1, 30), rows)
    features[rng.random(features.shape) < rng.choice([0, 0.2, 0.9])] = np.nan
    label = (rng.normal(size=rows) * rng.choice([0.01, 1, 100]) + np.nan_to_num(features[:, 0])).astype(np.float32)
    weight = rng.choice(np.float32([0, 0.5, 1, 3]), rows) if rng.random() < 0.3 else None
    params: dict[str, Any] = {
        **FIXED,
        "max_depth": int(rng.integers(0, 7)),
        "min_child_weight": float(rng.choice([0, 1, 3])),
        "reg_lambda": float(rng.choice([0, 1, 0.3])),
        "alpha": float(rng.choice([0, 0, 0.7])),
        "gamma": float(rng.choice([0, 0, 0.5])),
        "max_delta_step": float(rng.choice([0, 0, 0.1])),
        "max_bin": int(rng.choice([2, 4, 16, 256])),
        "grow_policy": str(rng.choice(["depthwise", "lossguide"])),
        "max_leaves": int(rng.choice([0, 2, 5, 9])),
        "max_cat_to_onehot": int(rng.choice([1, 4, 12])),
        "max_cat_threshold": int(rng.choice([1, 3, 64])),
        "eta": float(rng.choice([0.3, 1, 0.05])),
        "seed": int(rng.integers(0, 1000)),
    }
    if rng.random() < 0.3:
        params["monotone_constraints"] = str(tuple(int(sign) for sign in rng.integers(-1, 2, width)))
    if rng.random() < 0.3 and width > 2:
        params["interaction_constraints"] = "[[0, 1], [1, 2]]"
    for name in ("subsample", "colsample_bytree", "colsample_bylevel", "colsample_bynode"):
        if rng.random() < 0.2:
            params[name] = float(rng.choice([0.3, 0.6, 0.9]))
    return Problem(features, label, weight, categorical, params)


def trees_of(booster: xgboost.Booster) -> list[dict[str, Any]]:
    """Return the trees as XGBoost's JSON has them."""
    return json.loads(bytes(booster.save_raw("json")))["learner"]["gradient_booster"]["model"]["trees"]

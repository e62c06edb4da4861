"""Files of our models, opened by the XGBoost that is installed: equal predictions, and SHAP values by their definition.

The nox session ``xgboost`` runs this file with each release that the documentation names. The oldest is too old for the
tests of training.
"""

from __future__ import annotations

from functools import partial
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xgboost

from flare_core.testing import FakeFederation
from flare_xgb.bagging.executor import TreeExecutor
from flare_xgb.bagging.workflow import TreeBoosting
from flare_xgb.data import DataLoader, Table
from flare_xgb.engine.model import Model
from flare_xgb.engine.train import train
from flare_xgb.engine.tree import Tree
from flare_xgb.horizontal import Horizontal, HorizontalExecutor

FEATURES = 4
CATEGORIES = 9
PARAMS: dict[str, dict[str, Any]] = {
    "regression": {"objective": "reg:squarederror"},
    "a forest": {"objective": "reg:squarederror", "num_parallel_tree": 3, "subsample": 0.5, "seed": 1},
    "logarithms": {"objective": "reg:squaredlogerror"},
    "logistic": {"objective": "binary:logistic"},
    "counts": {"objective": "count:poisson"},
    "classes": {"objective": "multi:softprob", "num_class": 3},
    "a forest of classes": {"objective": "multi:softmax", "num_class": 3, "num_parallel_tree": 2, "subsample": 0.7},
    "quantiles": {"objective": "reg:quantileerror", "quantile_alpha": [0.2, 0.7]},
    "single categories": {"objective": "reg:squarederror", "max_cat_to_onehot": 20},
    "sets of categories": {"objective": "binary:logistic", "max_cat_to_onehot": 1},
    "loss-guided growth": {"objective": "reg:squarederror", "grow_policy": "lossguide", "max_leaves": 7},
}


def rows_of(params: dict[str, Any], missing: float) -> Table:
    """300 rows of four features, the third of nine categories."""
    rng = np.random.default_rng(3)
    features = rng.normal(size=(300, FEATURES)).astype(np.float32)
    features[:, 1] = np.round(features[:, 1] * 3)
    features[:, 2] = rng.integers(0, CATEGORIES, len(features))
    signal = features[:, 0] + np.sin(features[:, 2] * 2) + features[:, 1] * features[:, 3] / 4
    label = {
        "binary": signal > 0.5,
        "multi": np.digitize(signal, [0, 1.5]),
        "count": rng.poisson(np.exp(signal / 2)),
    }.get(params["objective"].split(":")[0], np.abs(signal))
    features[rng.random(features.shape) < missing] = np.nan
    types = ["float", "float", "c", "float"]
    return Table.of(features, label.astype(np.float32), types=types, categories={2: list(range(CATEGORIES))})


SUBSETS = np.array([[subset >> feature & 1 for feature in range(FEATURES)] for subset in range(1 << FEATURES)], bool)


def expectations(tree: Tree, rows: npt.NDArray[np.float32], node: int = 0) -> Any:
    """Return the mean value of a tree, [subsets, rows], if only a subset is known; others go by the Hessians."""
    if tree.is_leaf[node]:
        return np.full((len(SUBSETS), len(rows)), tree.threshold[node], np.float64)
    feature, left, right = (int(array[node]) for array in (tree.feature, tree.left, tree.right))
    lower, upper = expectations(tree, rows, left), expectations(tree, rows, right)
    column = rows[:, feature]
    goes_left = ~np.isin(column, tree.categories[node]) if node in tree.categories else column < tree.threshold[node]
    goes_left = np.where(np.isnan(column), tree.default_left[node], goes_left)
    share = tree.hessian[[left, right]].astype(np.float64)
    mean = (lower * share[0] + upper * share[1]) / share.sum()
    return np.where(SUBSETS[:, feature, None], np.where(goes_left, lower, upper), mean)


def shap_values(model: Model, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return the Shapley values of the features, then the mean, [rows, outputs, features + 1], from all subsets."""
    means = np.zeros((model.num_outputs, len(SUBSETS), len(rows)))
    for tree, output in zip(model.trees, model.outputs, strict=True):
        means[output] += expectations(tree, rows)
    values = np.empty((len(rows), model.num_outputs, FEATURES + 1))
    values[:, :, FEATURES] = means[:, 0].T + model.base_margins(len(rows))
    sizes = SUBSETS.sum(axis=1)
    for feature in range(FEATURES):
        without = np.flatnonzero(~SUBSETS[:, feature])
        share = np.array([1 / (FEATURES * comb(FEATURES - 1, size)) for size in sizes[without]])
        gained = means[:, without | 1 << feature] - means[:, without]
        values[:, :, feature] = np.einsum("s,osr->ro", share, gained)
    return values


@pytest.mark.parametrize("missing", [0, 0.2], ids=["complete", "with missing values"])
@pytest.mark.parametrize("kind", PARAMS)
@pytest.mark.parametrize("form", ["json", "ubj"])
def test_xgboost_opens_our_file_with_equal_predictions_and_shap_values(
    form: str, kind: str, missing: float, tmp_path: Path
) -> None:
    table = rows_of(PARAMS[kind], missing)
    model, _ = train({"max_depth": 4, "nthread": 1, **PARAMS[kind]}, table, 3)
    # XGBoost before 3.1 knows one base score only.
    for each in [model.with_one_base_score()] + [model] * (version() >= (3, 1)):
        each.save(tmp_path / f"model.{form}")
        booster = xgboost.Booster(model_file=tmp_path / f"model.{form}")
        data = xgboost.DMatrix(
            table.features, feature_types=["float", "float", "c", "float"], enable_categorical=True, nthread=1
        )
        margins = booster.predict(data, output_margin=True).reshape(len(table), -1)
        np.testing.assert_array_equal(margins, model.predict_margins(table.features))
        np.testing.assert_allclose(booster.predict(data), model.predict(table.features), rtol=1e-6)
        np.testing.assert_array_equal(booster.predict(data, pred_leaf=True), model.predict_leaves(table.features))
        found = booster.predict(data, pred_contribs=True).reshape(len(table), -1, FEATURES + 1)
        np.testing.assert_allclose(found, shap_values(model, table.features), rtol=1e-4, atol=1e-5)
        assert booster.num_boosted_rounds() == 3


class Given(DataLoader):
    """Rows that a test has."""

    def __init__(self, table: Table) -> None:
        self.table = table

    def load_data(self) -> tuple[Table, None]:
        return self.table, None


@pytest.mark.parametrize("kind", ["classes", "quantiles", "logistic"])
@pytest.mark.parametrize("workflow", [Horizontal, TreeBoosting])
def test_xgboost_opens_the_files_of_a_run_with_equal_predictions(workflow: type, kind: str) -> None:
    table, params = rows_of(PARAMS[kind], 0.2), {"max_depth": 3, "nthread": 1, **PARAMS[kind]}
    executor = HorizontalExecutor if workflow is Horizontal else partial(TreeExecutor, xgb_params=params)
    fed = FakeFederation({"site-1": executor(Given(table))})
    given = {"params": params} if workflow is Horizontal else {"xgb_params": params}
    fed.run(workflow(min_clients=1, num_rounds=2, **given))
    expected = train(params, table, 2)[0].predict_margins(table.features)
    data = xgboost.DMatrix(
        table.features, feature_types=["float", "float", "c", "float"], enable_categorical=True, nthread=1
    )
    for content in (fed.files["model.json"].encode(), fed.saved["global"].params["model"].tobytes()):
        margins = xgboost.Booster(model_file=bytearray(content)).predict(data, output_margin=True)
        np.testing.assert_array_equal(margins.reshape(expected.shape), expected)


@pytest.mark.parametrize("form", ["json", "ubj"])
def test_xgboost_reads_the_names_of_columns_in_any_script(form: str, tmp_path: Path) -> None:
    names = ["Größe", "年龄", 'in "quotes" and \\', "plain"]
    rng = np.random.default_rng(0)
    table = Table.of(rng.normal(size=(50, 4)), rng.normal(size=50), names=names)
    train({"max_depth": 2, "nthread": 1}, table, 1)[0].save(tmp_path / f"model.{form}")
    assert xgboost.Booster(model_file=tmp_path / f"model.{form}").feature_names == names
    assert list(Model.load(tmp_path / f"model.{form}").names) == names


def version() -> tuple[int, ...]:
    return tuple(map(int, xgboost.__version__.split(".")[:2]))

"""Gradients by a function of one's own."""

from __future__ import annotations

import numpy as np
import pytest
import xgboost

from flare_core import FlareError
from flare_xgb.objectives import Custom, Targets, objective


def test_gradients_of_ones_own_are_used_as_they_are():
    def function(margins, rows):
        return (margins - rows.label) * rows.weight, rows.weight

    rng = np.random.default_rng(10)
    rows = Targets(label=rng.normal(size=20).astype(np.float32), weight=rng.uniform(1, 2, 20).astype(np.float32))
    margins = rng.normal(size=(20, 1)).astype(np.float32)
    made, squared = Custom(function), objective("reg:squarederror")
    for mine, expected in zip(made.gradients(margins, rows), squared.gradients(margins, rows), strict=True):
        np.testing.assert_array_equal(mine, expected)
    assert Custom(function, objective("reg:absoluteerror")).leaf_quantiles == (0.5,)
    assert (made.name, made.default_metric, made.base_score(made.base_sums(rows))) == ("reg:squarederror", "rmse", 0.5)


@pytest.mark.parametrize("name", ["reg:squarederror", "binary:logistic", "count:poisson", "reg:absoluteerror"])
def test_training_with_gradients_of_ones_own_begins_where_xgboost_begins(name):
    seen = []

    def function(margins, data):
        seen.append(np.asarray(margins))
        return margins * 0, margins * 0 + 1

    xgboost.train({"objective": name}, xgboost.DMatrix(np.zeros((3, 1)), np.ones(3)), 1, obj=function)
    made = Custom(function, objective(name))
    score = made.base_score(made.base_sums(Targets(label=np.ones(3, np.float32))))
    np.testing.assert_array_equal(made.to_margin(score)[0], seen[0].reshape(-1)[0])


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda margins, rows: (margins[1:], margins), r"\(2,\) first"),
        (lambda margins, rows: (margins, margins / 0), "second derivative that is NaN or infinite"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_gradients_of_ones_own_must_fit_the_margins(function, message):
    with pytest.raises(FlareError, match=message):
        Custom(function).gradients(np.ones((3, 1), np.float32), Targets(label=np.ones(3, np.float32)))

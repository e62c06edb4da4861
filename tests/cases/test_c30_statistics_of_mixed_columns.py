"""Columns of every type, quantiles of one feature alone, and a site without rows."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from flare_runtime import SimEnv
from flare_stats import FedStatsRecipe

BMI = {"site-1": [20.0, 22.0, 24.0], "site-2": [30.0], "site-3": []}
CONFIGS = {
    "count": {},
    "missing": {},
    "failure_count": {},
    "sum": {},
    "mean": {},
    "stddev": {},
    "min": {},
    "max": {},
    "histogram": {"*": {"bins": 2}},
    "quantile": {"bmi": [0.5]},
    "categories": {},
}
OPEN = {"min_count": 0, "min_noise_level": 0, "max_noise_level": 0, "max_bins_percent": 100}


def frame(bmi):
    count = len(bmi)
    ages = pd.array([None if place % 3 == 1 else 40 + place for place in range(count)], dtype="Int64")
    return pd.DataFrame(
        {
            "age": ages,
            "sex": pd.array(["f", "m", "f"][:count], dtype="string"),
            "grade": pd.Categorical(["low", "high", "low"][:count], categories=["low", "middle", "high"]),
            "flag": np.array([True, False, True])[:count],
            "when": pd.date_range("2030-01-01", periods=count),
            "nothing": pd.Series([None] * count, dtype=object),
            "bmi": pd.Series(bmi, dtype=float),
        }
    )


@pytest.fixture(params=["pandas", "parquet", "csv"])
def found(request, tmp_path):
    config = {}
    for site, bmi in BMI.items():
        data = frame(bmi)
        if request.param != "pandas":
            path = tmp_path / f"{site}.{request.param}"
            data.to_parquet(path) if request.param == "parquet" else data.to_csv(path, index=False)
        config[site] = {"data": {"train": data if request.param == "pandas" else str(path)}}
    recipe = FedStatsRecipe(statistic_configs=CONFIGS, per_site_config=config, **OPEN)
    server = recipe.execute(SimEnv(num_clients=3, workspace_root=tmp_path / "runs")).get_result() / "server"
    return [json.loads((server / name).read_text()) for name in ("statistics.json", "about.json")]


def test_statistics_are_those_of_the_pooled_rows(found):
    statistics, about = found
    bmi = {name: of["Global"]["train"] for name, of in statistics["bmi"].items()}
    assert (bmi["count"], bmi["sum"], bmi["mean"], bmi["min"], bmi["max"]) == (4, 96.0, 24.0, 20.0, 30.0)
    assert bmi["stddev"] == pytest.approx(4.320494, abs=1e-6)  # with the divisor count - 1
    assert bmi["quantile"] == {"0.5": 23.0}
    assert [name for name, of in statistics.items() if "quantile" in of] == ["bmi"]
    assert bmi["histogram"] == [[20.0, 25.0, 3], [25.0, 30.0, 1]]
    age = {name: of["Global"]["train"] for name, of in statistics["age"].items()}
    assert (age["count"], age["missing"], age["sum"]) == (3, 1, 40 + 42 + 40)
    assert about["rows"] == {"site-1": {"train": 3}, "site-2": {"train": 1}, "site-3": {"train": 0}}


def test_columns_that_are_no_numbers_are_counted(found):
    statistics, _ = found
    assert statistics["sex"]["categories"]["Global"]["train"] == {"f": 3, "m": 1}
    assert statistics["grade"]["categories"]["Global"]["train"] == {"low": 3, "high": 1}
    assert statistics["flag"]["categories"]["Global"]["train"] == {"true": 3, "false": 1}
    assert statistics["when"]["count"]["Global"]["train"] == 4
    assert statistics["nothing"]["missing"]["Global"]["train"] == 4
    assert "mean" not in statistics["sex"]


def test_the_site_without_rows_is_there_and_lacks_only_what_it_cannot_compute(found):
    statistics, about = found
    assert statistics["bmi"]["count"]["site-3"]["train"] == 0
    assert "site-3" not in statistics["bmi"]["mean"]
    assert ["site-3", "train", "bmi", "mean", "no values"] in about["refused"]
    assert ["site-2", "train", "bmi", "stddev", "needs two values"] in about["refused"]
    assert statistics["bmi"]["mean"]["site-2"]["train"] == 30.0

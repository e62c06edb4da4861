"""XGBBaggingRecipe: its arguments, and runs in the simulator."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import xgboost

from flare_core import FlareError, RecipeError
from flare_core.testing import RecipeConformance
from flare_runtime import SimEnv
from flare_xgb import XGBBaggingRecipe
from flare_xgb.data import FileLoader, LibsvmLoader

LOGISTIC = {"objective": "binary:logistic", "max_depth": 2, "nthread": 1}
LOADER = FileLoader("{site}.csv", "event", categorical=["town"])


class TestRecipe(RecipeConformance):
    def make(self, folder):
        (folder / "loaders.py").write_text("")
        own = {"data_loader": LibsvmLoader("rows.svm", 3), "lr_scale": 0.5}
        return XGBBaggingRecipe(
            min_clients=2,
            xgb_params=LOGISTIC,
            lr_mode="scaled",
            data_loader=LOADER,
            per_site_config={"site-2": own},
        )


def recipe(**arguments):
    given = {"min_clients": 2, "num_rounds": 3, "xgb_params": LOGISTIC, "data_loader": LOADER}
    return XGBBaggingRecipe(**given | arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "boosting"}, "mode is 'boosting'; use 'bagging' or 'cyclic'"),
        ({"lr_mode": "even"}, "lr_mode is 'even'"),
        ({"xgb_params": {"objective": "binary:logistics"}}, "binary:logistics"),
        ({"xgb_params": {"booster": "dart"}}, "dart"),
        ({"xgb_params": {"max_deph": 3}}, "did you mean max_depth"),
        ({"xgb_params": {"eval_metric": "aux"}}, "xgb_params: there is no metric 'aux'"),
        ({"xgb_params": {"objective": "multi:softmax", "num_class": 3, "base_score": [0.1, 0.2]}}, "2 values"),
        ({"data_loader": None}, "the sites need rows"),
        ({"data_loader": object()}, "without load_data"),
        ({"data_loader": FileLoader}, "is the class FileLoader itself"),
        ({"per_site_config": {"site-1": {"loader": LOADER}}}, "unknown setting 'loader'"),
        ({"per_site_config": {"site-1": {"lr_scale": 0.5}}}, "needs lr_mode='scaled'"),
        ({"per_site_config": {"site-1": {"lr_scale": -1}}, "lr_mode": "scaled"}, "lr_scale is -1"),
        ({"data_loader": None, "per_site_config": {"site-1": {}}}, "has no data_loader"),
        ({"save_name": "../model.json"}, "save_name"),
        ({"clients_per_round": 1}, "clients_per_round is 1"),
        ({"early_stopping_rounds": 0}, "early_stopping_rounds is 0"),
    ],
)
def test_unusable_arguments_are_named(arguments, message):
    with pytest.raises(FlareError, match=message):
        recipe(**arguments)


def write_rows(folder, sites):
    generator = np.random.default_rng(0)
    frames = {}
    for site in sites:
        frame = pd.DataFrame({"age": generator.integers(20, 80, 200), "town": generator.choice(["a", "b", "c"], 200)})
        chance = 1 / (1 + np.exp((50 - frame["age"]) / 8 + 2 * (frame["town"] == "b")))
        frame["event"] = (generator.random(200) < chance).astype(int)
        frame.to_csv(folder / f"{site}.csv", index=False)
        frames[site] = frame
    return frames


@pytest.mark.parametrize("mode", ["bagging", "cyclic"])
def test_a_run_writes_a_model_that_xgboost_opens(tmp_path, mode):
    frames = write_rows(tmp_path, ["site-1", "site-2"])
    loader = FileLoader(str(tmp_path / "{site}.csv"), "event", categorical=["town"])

    run = recipe(mode=mode, data_loader=loader).execute(SimEnv(num_clients=2, workspace_root=tmp_path / "runs"))

    path = run.get_result() / "server" / "model.json"
    booster = xgboost.Booster(model_file=path)
    pooled = pd.concat(frames.values())
    rows = xgboost.DMatrix(
        pooled[["age", "town"]].astype({"town": "category"}), pooled["event"], enable_categorical=True
    )
    assert booster.num_boosted_rounds() == (3 if mode == "bagging" else 6)
    assert booster.feature_names == ["age", "town"]
    assert json.loads(json.loads(path.read_text())["learner"]["attributes"]["schema"])["categories"] == [
        [1, ["a", "b", "c"]]
    ]
    loss = float(booster.eval(rows).rpartition(":")[2])
    (last,) = (each["value"] for each in run.metrics() if each["round"] == 2 and each["site"] is None)
    assert last == pytest.approx(loss, abs=1e-6)


def test_a_site_whose_columns_differ_ends_the_run_by_its_name(tmp_path):
    frames = write_rows(tmp_path, ["site-1", "site-2"])
    frames["site-2"][["town", "age", "event"]].to_csv(tmp_path / "site-2.csv", index=False)
    loader = FileLoader(str(tmp_path / "{site}.csv"), "event", categorical=["town"])

    with pytest.raises(FlareError, match="site-2: column 1 is 'town', but at site-1 it is 'age'"):
        recipe(data_loader=loader).execute(SimEnv(num_clients=2, workspace_root=tmp_path / "runs"))


def test_a_site_without_a_loader_ends_the_run_by_its_name(tmp_path):
    write_rows(tmp_path, ["site-1", "site-2"])
    loader = FileLoader(str(tmp_path / "{site}.csv"), "event", categorical=["town"])
    made = recipe(data_loader=None, per_site_config={"site-1": {"data_loader": loader}})

    with pytest.raises(FlareError, match="site-2: there is no data_loader"):
        made.execute(SimEnv(num_clients=2, workspace_root=tmp_path / "runs"))


def test_lr_scales_are_for_scaled_bagging_only():
    with pytest.raises(RecipeError, match="lr_mode='scaled' and mode='bagging'"):
        recipe(mode="cyclic", lr_mode="scaled", per_site_config={"site-1": {"lr_scale": 0.5}})

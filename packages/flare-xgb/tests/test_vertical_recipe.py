"""XGBVerticalRecipe: its arguments, and runs in the simulator."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd
import pytest
import xgboost

from flare_core import FlareError, JobFailed
from flare_core.testing import RecipeConformance
from flare_runtime import SimEnv
from flare_xgb import FileLoader, XGBVerticalRecipe
from flare_xgb.data import Columns, from_pandas
from flare_xgb.engine.train import train
from flare_xgb.vertical import ModelPart

PARAMS = {"objective": "binary:logistic", "max_depth": 3, "nthread": 1}
SITES = {
    "site-1": {"data_loader": FileLoader("bank.csv", label="default", categorical=["id"])},
    "site-2": {"data_loader": FileLoader("shop.csv", categorical=["id", "town"])},
}


class TestRecipe(RecipeConformance):
    def make(self, folder):
        return XGBVerticalRecipe(min_clients=2, label_owner="site-1", xgb_params=PARAMS, per_site_config=SITES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"secure": "homomorphic"}, "secure is 'homomorphic'; use 'plain' or 'masked'"),
        ({"label_owner": "site-3"}, "label_owner is 'site-3', which is not in per_site_config; it has site-1, site-2"),
        ({"label_owner": None}, "label_owner is None; give the name"),
        ({"model_file_name": "../model.json"}, "model_file_name"),
        ({"id_column": 3}, "id_column is 3"),
        ({"min_clients": 1}, "min_clients is 1"),
        ({"early_stopping_rounds": 0}, "early_stopping_rounds is 0"),
        ({"xgb_params": {"max_deph": 3}}, "did you mean max_depth"),
        ({"xgb_params": {"eval_metric": "acu"}}, "acu"),
        ({"per_site_config": None}, "the sites need rows"),
    ],
)
def test_unusable_arguments_are_named(arguments, message):
    given = {"min_clients": 2, "label_owner": "site-1", "xgb_params": PARAMS, "per_site_config": SITES}
    with pytest.raises(FlareError, match=message):
        XGBVerticalRecipe(**given | arguments)


def write_rows(folder):
    """Write the files of a bank and a shop, in different orders; return the joined rows in the order of their ids."""
    generator = np.random.default_rng(0)
    joined = pd.DataFrame(
        {
            "id": [f"customer {number:04}" for number in range(600)],
            "age": generator.integers(20, 80, 600),
            "income": generator.lognormal(10, 1, 600).round(2),
            "town": generator.choice(["a", "b", "c"], 600),
            "visits": generator.poisson(3, 600).astype(float),
        }
    )
    joined.loc[generator.random(600) < 0.1, "visits"] = np.nan
    chance = 1 / (1 + np.exp((50 - joined["age"]) / 8 + 2 * (joined["town"] == "b") - joined["visits"].fillna(0) / 3))
    joined["default"] = (generator.random(600) < chance).astype(int)
    for name, rows in (("", joined[:500]), ("-new", joined[500:])):
        bank, shop = rows[["age", "id", "income", "default"]], rows[["id", "town", "visits"]]
        bank.sample(frac=1, random_state=1).to_csv(folder / f"bank{name}.csv", index=False)
        shop.sample(frac=1, random_state=2).to_csv(folder / f"shop{name}.csv", index=False)
    return joined.drop(columns="id")


def loaders(folder):
    bank = {"label": "default", "categorical": ["id"], "validation": str(folder / "bank-new.csv")}
    shop = {"categorical": ["id", "town"], "validation": str(folder / "shop-new.csv")}
    return {
        "site-1": {"data_loader": FileLoader(str(folder / "bank.csv"), **bank)},
        "site-2": {"data_loader": FileLoader(str(folder / "shop.csv"), **shop)},
    }


def recipe(folder, **arguments):
    given = {"min_clients": 2, "label_owner": "site-1", "num_rounds": 4, "xgb_params": PARAMS, "id_column": "id"}
    return XGBVerticalRecipe(**given | {"per_site_config": loaders(folder)} | arguments)


def expected_model(joined):
    table = from_pandas(joined, Columns(label="default", categorical=["town"]))
    return train(
        PARAMS, table.take(slice(500)), 4, evals={"validation": table.take(slice(500, 600))}, early_stopping_rounds=3
    )


@pytest.mark.parametrize("secure", ["plain", "masked"])
def test_a_run_writes_the_model_of_the_joined_table(tmp_path, secure):
    expected, history = expected_model(write_rows(tmp_path))
    run = recipe(tmp_path, secure=secure, joined_model=True).execute(SimEnv(num_clients=2, workspace_root=tmp_path))
    path = run.get_result() / "server" / "model.json"
    assert path.read_bytes() == expected.to_json()
    assert xgboost.Booster(model_file=path).num_boosted_rounds() == 4
    assert history["validation"]["logloss"][-1] < history["validation"]["logloss"][0]


@pytest.mark.parametrize("secure", ["plain", "masked"])
def test_the_parts_of_the_sites_predict_together(tmp_path, secure):
    joined = write_rows(tmp_path)
    expected, _ = expected_model(joined)
    run = recipe(tmp_path, secure=secure).execute(SimEnv(num_clients=2, workspace_root=tmp_path))
    table = from_pandas(joined, Columns(label="default", categorical=["town"]))
    bank = from_pandas(joined[["age", "income"]])
    shop = from_pandas(joined[["town", "visits"]], Columns(categorical=["town"]))
    parts = {site: ModelPart.load(run.get_result() / "sites" / site / "model.json") for site in ("site-1", "site-2")}
    sides = {"site-1": parts["site-1"].sides(bank), "site-2": parts["site-2"].sides(shop)}
    np.testing.assert_array_equal(parts["site-1"].predict(sides, 600), expected.predict(table.features))
    assert not (run.get_result() / "server" / "model.json").exists()


class Dying(FileLoader):
    """A loader whose site's process ends when it reads."""

    def load_data(self):
        os._exit(3)


def test_a_site_that_dies_before_training_ends_the_run_with_its_name(tmp_path):
    write_rows(tmp_path)
    settings = loaders(tmp_path) | {"site-2": {"data_loader": Dying("shop.csv")}}
    with pytest.raises(JobFailed, match=r"site-2"):
        recipe(tmp_path, per_site_config=settings).execute(SimEnv(num_clients=2, workspace_root=tmp_path))


def test_a_site_whose_rows_are_others_ends_the_run_with_its_name(tmp_path):
    write_rows(tmp_path)
    shop = pd.read_csv(tmp_path / "shop.csv")
    shop.loc[7, "id"] = "customer 9999"
    shop.to_csv(tmp_path / "shop.csv", index=False)
    with pytest.raises(JobFailed, match=r"site-2: the ids of its rows to train on are not those of site-1"):
        recipe(tmp_path).execute(SimEnv(num_clients=2, workspace_root=tmp_path))

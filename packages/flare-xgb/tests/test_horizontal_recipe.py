"""The recipe of horizontal training, in the simulator."""

from __future__ import annotations

import json
import textwrap
import threading

import numpy as np
import pytest

from flare_core import JobFailed, RecipeError
from flare_core.testing import RecipeConformance
from flare_runtime import SimEnv
from flare_xgb import XGBHorizontalRecipe
from flare_xgb.data import DataLoader, FileLoader, Table
from flare_xgb.engine.model import Model
from flare_xgb.engine.train import train

PARAMS = {"objective": "binary:logistic", "max_depth": 4, "max_bin": 32, "eval_metric": "logloss", "nthread": 1}
COUNT = 400


class Share(DataLoader):
    """Every site's share of rows that are drawn anew by each."""

    def __init__(self, sites: int, most: int = COUNT) -> None:
        self.sites = sites
        self.most = most

    def load_data(self):
        table = all_rows()
        return table.take(slice(self.rank, self.most, self.sites)), table.take(slice(self.rank, 50, self.sites))


class Broken(DataLoader):
    def load_data(self):
        return Table.of(np.zeros((3, 2)), np.zeros(3)), None


def all_rows():
    random = np.random.default_rng(0)
    features = random.normal(size=(COUNT, 6)).astype(np.float32)
    return Table.of(features, features[:, 0] * features[:, 1] > random.normal(size=COUNT))


def run(recipe, folder, sites):
    return recipe.execute(SimEnv(num_clients=sites, workspace_root=folder))


@pytest.mark.parametrize(("sites", "secure"), [(1, False), (2, "masked"), (3, False)])
def test_sites_in_processes_train_the_model_of_one_table(tmp_path, sites, secure):
    recipe = XGBHorizontalRecipe(
        min_clients=sites,
        num_rounds=4,
        early_stopping_rounds=None,
        secure=secure,
        xgb_params=PARAMS,
        data_loader=Share(sites),
    )
    done = run(recipe, tmp_path, sites)
    folder = done.get_result()
    wanted, history = train(
        PARAMS, all_rows(), 4, evals={"train": all_rows(), "validation": all_rows().take(slice(50))}
    )
    assert (folder / "server" / "model.json").read_bytes() == wanted.to_json()
    assert Model.from_bytes(done.load_model()["model"].tobytes()).to_json() == wanted.to_json()
    for name in ("train", "validation"):
        recorded = [row["value"] for row in done.metrics() if row["key"] == f"{name}-logloss"]
        assert recorded == history[name]["logloss"]
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["rounds"], summary["key_metric"]) == (4, "validation-logloss")


def test_each_site_has_a_loader_of_its_own(tmp_path):
    table, loaders = all_rows(), {}
    for number, part in enumerate((slice(0, 100), slice(100, COUNT)), 1):
        columns = np.column_stack([table.features[part], table.label[part]])
        header = "a,b,c,d,e,f,sick"
        np.savetxt(tmp_path / f"site-{number}.csv", columns, "%.9g", ",", header=header, comments="")
        loaders[f"site-{number}"] = {"data_loader": FileLoader(str(tmp_path / f"site-{number}.csv"), label="sick")}
    recipe = XGBHorizontalRecipe(
        min_clients=2, num_rounds=2, early_stopping_rounds=None, xgb_params=PARAMS, per_site_config=loaders
    )
    found = (run(recipe, tmp_path, 2).get_result() / "server" / "model.json").read_bytes()
    wanted, _ = train(PARAMS, Table.of(table.features, table.label, names="abcdef"), 2)
    assert found == wanted.to_json()


def test_a_site_that_does_not_fit_ends_the_run_before_training_with_its_name(tmp_path):
    recipe = XGBHorizontalRecipe(
        min_clients=2,
        num_rounds=2,
        xgb_params=PARAMS,
        data_loader=Share(2),
        per_site_config={"site-2": {"data_loader": Broken()}},
    )
    with pytest.raises(JobFailed, match=r"site-2: has 2 features, but site-1 has 6"):
        run(recipe, tmp_path, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"secure": "encrypted"}, "secure is 'encrypted'"),
        ({"secure": True, "min_clients": 1}, "the sum over one site is that site's own"),
        ({"client_ranks": {"site-1": 0, "site-2": 0}}, "client_ranks is"),
        ({"xgb_params": {"booster": "dart"}}, "booster='dart' is left out"),
        ({"xgb_params": {"max_dept": 3}}, "did you mean max_depth"),
        ({"xgb_params": "max_depth=3"}, "xgb_params is 'max_depth=3'"),
        ({"xgb_params": {"objective": "binary:logistic", "num_class": 3}}, "num_class is 3, but binary:logistic has"),
        ({"xgb_params": {"base_score": [0.1, 0.2]}}, "base_score has 2 values"),
        ({"xgb_params": {"objective": "reg:nothing"}}, "reg:nothing"),
        ({"data_loader": None}, "give data_loader, or per_site_config"),
        ({"data_loader": threading.Lock()}, "data_loader is a lock without load_data"),  # it cannot be copied
    ],
)
def test_unusable_arguments_are_refused_when_the_recipe_is_made(arguments, message):
    with pytest.raises((RecipeError, ValueError), match=message):
        XGBHorizontalRecipe(**{"min_clients": 2, "num_rounds": 1, "data_loader": Share(2), **arguments})


def test_parameters_may_be_numbers_of_numpy():
    recipe = XGBHorizontalRecipe(min_clients=2, xgb_params={"max_depth": np.int64(3)}, data_loader=Share(2))
    assert recipe.build().server.workflows[0].args["params"] == {"max_depth": 3}


def test_constraints_may_name_features_that_are_known_only_at_the_sites(tmp_path):
    params = {**PARAMS, "monotone_constraints": {"b": 1}}
    recipe = XGBHorizontalRecipe(
        min_clients=1, num_rounds=1, early_stopping_rounds=None, xgb_params=params, data_loader=Named()
    )
    table = Named().load_data()[0]
    found = (run(recipe, tmp_path, 1).get_result() / "server" / "model.json").read_bytes()
    assert found == train(params, table, 1)[0].to_json()


class Named(DataLoader):
    def load_data(self):
        table = all_rows()
        return Table.of(table.features, table.label, names="abcdef"), None


def test_importing_the_recipe_does_not_load_the_engine(tmp_path):
    import subprocess
    import sys

    program = textwrap.dedent("""
        import sys
        import flare_xgb
        assert "numba" not in sys.modules, "numba takes a second to import"
    """)
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


class TestRecipe(RecipeConformance):
    def make(self, folder):
        return XGBHorizontalRecipe(
            min_clients=2, num_rounds=1, xgb_params=PARAMS, data_loader=FileLoader("rows.csv", label="y")
        )

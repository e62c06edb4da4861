"""The recipe, in the simulator."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from stats_runs import NUMBERS, OPEN, people

from flare_core import JobError, RecipeError
from flare_core.testing import RecipeConformance
from flare_runtime import SimEnv
from flare_stats import FedStatsRecipe
from flare_stats.output.table import table_of

EVERYTHING = {
    **NUMBERS,
    "histogram": {"*": {"bins": 8}, "age": {"bins": 6, "range": [20, 80]}},
    "quantile": {"*": [0.1, 0.5, 0.9]},
    "categories": {},
    "top_values": {"*": {"number": 1}},
    "balance": {"sex": {}},
    "distinct": {},
    "correlation": {},
    "covariance": {},
}


def results(recipe, folder, sites=2):
    done = recipe.execute(SimEnv(num_clients=sites, workspace_root=folder / "runs"))
    server = done.get_result() / "server"
    return [json.loads((server / f"{name}.json").read_text()) for name in ("statistics", "matrices", "about")]


def recipe_of(folder, frames, **arguments):
    config = {}
    for number, datasets in enumerate(frames, 1):
        config[f"site-{number}"] = {"data": {name: str(folder / f"site-{number}-{name}.csv") for name in datasets}}
        for name, frame in datasets.items():
            frame.to_csv(folder / f"site-{number}-{name}.csv", index=False)
    return FedStatsRecipe(**{"statistic_configs": EVERYTHING, "per_site_config": config, **OPEN, **arguments})


def test_statistics_of_all_sites_are_those_of_the_pooled_rows(tmp_path):
    frames = [{"train": people(150, 1), "test": people(40, 2)}, {"train": people(90, 3)}]
    statistics, matrices, about = results(recipe_of(tmp_path, frames), tmp_path)
    pooled = pd.concat([each["train"] for each in frames])
    found = {name: of["Global"]["train"] for name, of in statistics["bmi"].items()}
    bmi = pooled["bmi"].dropna().to_numpy()
    assert (found["count"], found["missing"]) == (len(bmi), pooled["bmi"].isna().sum())
    assert (found["min"], found["max"]) == (bmi.min(), bmi.max())
    for name, wanted in (
        ("sum", bmi.sum()),
        ("mean", bmi.mean()),
        ("var", bmi.var(ddof=1)),
        ("stddev", bmi.std(ddof=1)),
    ):
        assert found[name] == pytest.approx(wanted, rel=1e-12)
    assert found["quantile"] == {str(at): np.quantile(bmi, at) for at in (0.1, 0.5, 0.9)}
    every = pd.concat([frame for each in frames for frame in each.values()])["bmi"].dropna()
    counts, edges = np.histogram(bmi, 8, range=(every.min(), every.max()))
    assert [count for _, _, count in found["histogram"]] == counts.tolist()
    assert [low for low, _, _ in found["histogram"]] == edges[:-1].tolist()
    assert statistics["sex"]["categories"]["Global"]["train"] == pooled["sex"].value_counts().to_dict()
    assert statistics["sex"]["top_values"]["Global"]["train"] == [["f", int((pooled["sex"] == "f").sum())]]
    assert statistics["sex"]["balance"]["Global"]["train"]["m"] == pytest.approx((pooled["sex"] == "m").mean())
    assert statistics["age"]["distinct"]["Global"]["train"] == pooled["age"].nunique()
    wanted = pooled.corr(numeric_only=True).to_numpy()
    assert np.array(matrices["Global"]["train"]["correlation"]) == pytest.approx(wanted, rel=1e-12)
    assert about["rows"] == {"site-1": {"train": 150, "test": 40}, "site-2": {"train": 90}}
    assert statistics["bmi"]["mean"]["site-1"]["test"] == pytest.approx(frames[0]["test"]["bmi"].mean(), rel=1e-12)
    assert about["refused"] == []


def test_data_in_memory_are_for_the_simulator_alone(tmp_path):
    recipe = FedStatsRecipe(
        statistic_configs={"count": {}}, per_site_config={"site-1": {"data": {"train": people(20, 1)}}}
    )
    statistics, _, _ = results(recipe, tmp_path, sites=1)
    assert statistics["age"]["count"]["Global"]["train"] == 20
    message = r"per_site_config\['site-1'\]\['data'\]\['train'\] is a pandas.DataFrame in the memory .*give its path"
    with pytest.raises(JobError, match=message):
        recipe.export(tmp_path)


def test_a_source_may_be_a_mapping_with_a_path_alone(tmp_path):
    people(20, 1).to_csv(tmp_path / "a.csv", index=False)
    recipe = FedStatsRecipe(
        statistic_configs={"count": {}}, per_site_config={"site-1": {"data": {"train": {"path": tmp_path / "a.csv"}}}}
    )
    statistics, _, _ = results(recipe, tmp_path, sites=1)
    assert statistics["age"]["count"]["Global"]["train"] == 20


def test_shares_in_the_table_are_of_the_sites_that_gave_categories():
    def shown(**statistics):
        found = {name: {"Global": {"train": value}} for name, value in statistics.items()}
        facts = {"sites": ["site-1", "site-2"], "refused": [["site-2", "train", "sex", "categories", "min_count: …"]]}
        title, _, rows = table_of(SimpleNamespace(statistics={"sex": found}, facts=facts))
        assert title == "Statistics of 2 sites; 1 was not given: about.json says why"
        return rows[0][-1]

    assert shown(count=60, categories={"f": 15, "m": 15}) == "f 50%, m 50%"
    assert shown(count=60, categories={"f": 15, "m": 10}, categories_other=5) == "f 50%, m 33%"
    assert shown(count=60, top_values=[["f", 15]]) == "f 25%"


class TestRecipe(RecipeConformance):
    def make(self, folder):
        data = {"site-1": {"data": {"train": "a.csv"}}, "site-2": {"data": {"train": "b.csv"}}}
        return FedStatsRecipe(statistic_configs={"count": {}}, per_site_config=data)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"statistic_configs": {}}, "statistic_configs is {}"),
        ({"statistic_configs": {"meen": {}}}, "did you mean 'mean'"),
        ({"statistic_configs": {"histogram": {"*": {"bin": 3}}}}, "unknown option 'bin'"),
        ({"statistic_configs": {"histogram": {"*": {"range": [3, 1]}}}}, "the smaller one first"),
        ({"statistic_configs": {"quantile": {"*": [50]}}}, "fractions from 0 to 1"),
        ({"statistic_configs": {"balance": {}}}, "name the feature with the classes"),
        ({"sites": "site-1"}, "give a list of names"),
        ({"sites": ["site-2"]}, "names 'site-1', which is none of sites"),
        ({"min_count": -1}, "min_count is -1"),
        ({"min_noise_level": 0.5}, "exchange them"),
        ({"max_bins_percent": 101}, "max_bins_percent is 101"),
        ({"stats_output_path": "../x.json"}, "stats_output_path is '../x.json'"),
        ({"stats_output_path": "about.json"}, "other than"),
        ({"per_site_config": {}}, "give sites, or min_clients"),
        ({"per_site_config": {"site-1": {"path": "x"}}}, "unknown setting 'path'"),
        ({"per_site_config": {"site-1": {"data": "x.csv"}}}, "give data sets by name"),
        ({"hierarchy": "region"}, "give names of levels"),
        ({"hierarchy": {"north": "site-1"}}, "give a dict of groups"),
        ({"stats_generator": object()}, "derives from flare_stats.Statistics"),
    ],
)
def test_unusable_arguments_are_refused_when_the_recipe_is_made(arguments, message):
    usable = {"statistic_configs": {"count": {}}, "per_site_config": {"site-1": {"data": {"train": "a.csv"}}}}
    with pytest.raises(RecipeError, match=message):
        FedStatsRecipe(**{**usable, **arguments})

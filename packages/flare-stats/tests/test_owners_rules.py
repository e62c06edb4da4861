"""Rules that the owner of one site keeps, in runs with sites that have none."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import numpy as np
import pandas as pd
import pytest
from stats_runs import federation, people, run, sites_of

from flare_core import SiteError
from flare_stats import Statistics
from flare_stats.executor import StatisticsExecutor

CONFIGS = {
    "count": {},
    "mean": {},
    "min": {},
    "histogram": {"*": {"bins": 10}},
    "quantile": {"*": [0.5]},
    "categories": {},
    "distinct": {},
}
FRAMES = {site: {"train": people(800, seed)} for seed, site in enumerate(("site-1", "site-2", "site-3"))}


@pytest.fixture
def with_rules(tmp_path):
    """Return a function that runs three sites, of which the second has these rules."""

    def start(rules, configs=CONFIGS, frames=FRAMES, masked=False, sites=None):
        folder = tmp_path / "local"
        folder.mkdir(exist_ok=True)
        (folder / "privacy.toml").write_text(rules)
        fed = federation(sites or sites_of(frames, masked=masked), site_local={"site-2": folder})
        return run({}, configs, fed=fed, masked=masked, min_clients=3)

    return start


def rules_of(about, site="site-2"):
    return {(feature, statistic): rule for of, _, feature, statistic, rule in about["refused"] if of == site}


def test_a_job_that_wishes_for_nothing_gets_what_the_owner_allows(with_rules):
    statistics, _, about, _ = with_rules("min_count = 1\nforbidden_statistics = ['mean']\nforbidden_features = ['age']")
    assert set(statistics["bmi"]["mean"]) == {"site-1", "site-3", "Global"}
    assert set(statistics["age"]["count"]) == {"site-1", "site-3", "Global"}
    assert "forbidden_statistics" in rules_of(about)["bmi", "mean"]
    assert "distinct_hashes" in rules_of(about)["bmi", "distinct"]
    low = FRAMES["site-2"]["train"]["bmi"].min()
    assert statistics["bmi"]["min"]["site-2"]["train"] < low  # moved outwards
    assert statistics["bmi"]["min"]["site-1"]["train"] == FRAMES["site-1"]["train"]["bmi"].min()
    assert not [row for row in about["refused"] if row[0] != "site-2"]


@pytest.mark.parametrize(("masked", "told"), [(False, "; 800 values are no numbers"), (True, "")])
def test_a_refusal_tells_how_many_values_are_no_numbers_unless_the_sites_numbers_are_masked(with_rules, masked, told):
    frame = people(800)
    frame["bmi"] = "24,5"
    configs = {"count": {"bmi": {}}, "mean": {"bmi": {}}}
    _, _, about, _ = with_rules("", configs, FRAMES | {"site-2": {"train": frame}}, masked=masked)
    assert rules_of(about)["bmi", "mean"] == f"min_count: fewer than 10 values{told}"


def test_quantiles_are_answered_in_groups_of_the_owners_size(with_rules):
    statistics, _, about, _ = with_rules("min_count = 40")
    values = np.sort(FRAMES["site-2"]["train"]["bmi"].dropna())
    found = statistics["bmi"]["quantile"]["site-2"]["train"]["0.5"]
    assert found not in values
    assert abs(np.searchsorted(values, found) - len(values) / 2) < 80
    assert about["quantile_rank_error"] == pytest.approx(3 * 40 / len(values))
    exact = np.quantile(FRAMES["site-1"]["train"]["bmi"].dropna(), 0.5)
    assert statistics["bmi"]["quantile"]["site-1"]["train"]["0.5"] == exact


def test_counts_of_quantiles_are_rounded_like_others(with_rules):
    statistics, _, _, _ = with_rules(
        "min_count = 1\nround_counts_to = 50", {"count": {}, "quantile": {"*": [0.0, 0.5, 1.0]}}
    )
    assert statistics["bmi"]["count"]["site-2"]["train"] % 50 == 0
    found = statistics["bmi"]["quantile"]["site-2"]["train"]
    values = FRAMES["site-2"]["train"]["bmi"].dropna()
    assert np.isfinite(list(found.values())).all()
    assert found["0.5"] == pytest.approx(np.quantile(values, 0.5), abs=1)


DIFFERENTIAL = """
min_count = 1
[differential_privacy]
mechanism = "laplace"
epsilon = 1.0
total_epsilon = 100.0
[features.age]
bounds = [0, 100]
[features.sex]
categories = ["f", "m"]
"""


def test_statistics_with_differential_privacy_are_merged_with_others(with_rules):
    pytest.importorskip("opendp")
    statistics, _, about, _ = with_rules(DIFFERENTIAL)
    age = {name: of["site-2"]["train"] for name, of in statistics["age"].items() if "site-2" in of}
    values = FRAMES["site-2"]["train"]["age"]
    assert abs(age["count"] - 800) < 100
    assert age["mean"] == pytest.approx(values.mean(), abs=5)
    assert age["quantile"]["0.5"] == pytest.approx(np.quantile(values, 0.5), abs=8)
    assert age["min"] == 0.0  # the owner's bound
    assert set(statistics["sex"]["categories"]["site-2"]["train"]) == {"f", "m"}
    assert "no features.bmi.bounds" in rules_of(about)["bmi", "mean"]
    assert "site-2" in statistics["age"]["histogram"]


def test_the_owners_rules_hold_under_masks_too(with_rules):
    configs = {name: CONFIGS[name] for name in ("count", "mean", "quantile")}
    statistics, _, about, _ = with_rules("min_count = 1\nforbidden_statistics = ['quantile']", configs, masked=True)
    assert "quantile" not in statistics["bmi"]
    assert "forbidden_statistics" in rules_of(about)["bmi", "quantile"]
    assert statistics["bmi"]["mean"]["Global"]["train"] == pytest.approx(
        pd.concat([of["train"] for of in FRAMES.values()])["bmi"].mean(), rel=1e-5
    )


def test_sites_with_too_few_values_say_nothing_and_are_named(with_rules):
    frames = {**FRAMES, "site-2": {"train": people(20)}}
    statistics, _, about, _ = with_rules("min_count = 30", frames=frames)
    assert "site-2" not in statistics["age"]["count"]
    assert "site-2" not in about["rows"]["site-2"]
    assert rules_of(about)["age", "count"] == "min_count: fewer than 30 values"


def test_a_policy_file_with_a_mistake_ends_the_run_and_names_file_and_key(with_rules):
    with pytest.raises(
        SiteError, match=r"site-2: .*privacy.toml: the key min_cuont is unknown; did you mean min_count"
    ):
        with_rules("min_cuont = 3")


def test_code_of_a_job_is_refused_where_the_owner_limits_what_may_be_read(with_rules):
    class Own(Statistics):
        def initialize(self, context):
            self.data = FRAMES[context.party]

    sites = {site: StatisticsExecutor(stats_generator=Own()) for site in FRAMES}
    with pytest.raises(SiteError, match=r"site-2: .*stats_generator of its own, whose data the site's rule sources"):
        with_rules("sources = ['/data/*']", sites=sites)


def test_a_second_run_over_the_same_data_is_counted_in_the_ledger(with_rules):
    rules = "min_count = 1\nmax_queries = 2"
    with_rules(rules, {"count": {}})
    with_rules(rules, {"mean": {}})
    _, _, about, _ = with_rules(rules, {"mean": {}, "count": {}})
    assert "max_queries" in rules_of(about)["age", "mean"]


def test_what_needs_a_count_that_is_forbidden_is_refused_by_name(with_rules):
    statistics, _, about, _ = with_rules(
        "min_count = 1\nforbidden_statistics = ['count']", {"count": {}, "sum": {}, "mean": {}, "stddev": {}}
    )
    assert set(statistics["age"]["mean"]) == {"site-1", "site-3", "Global"}
    assert "site-2" in statistics["age"]["sum"]
    assert rules_of(about)["age", "mean"] == "forbidden_statistics: mean needs the count"
    assert rules_of(about)["age", "stddev"] == "forbidden_statistics: stddev needs the count"


def test_an_error_of_a_query_tells_no_value_to_the_server(tmp_path, with_rules):
    with closing(sqlite3.connect(tmp_path / "ward.db")) as database, database:
        database.execute("create table people (name text)")
        database.execute("insert into people values ('Alice')")
    query = "select json_extract('{}', name) as age from people"
    data = {"train": {"path": f"sqlite:///{tmp_path / 'ward.db'}", "query": query}}
    sites = sites_of(FRAMES) | {"site-2": StatisticsExecutor(data=data)}
    with pytest.raises(
        SiteError, match=r"site-2: the data cannot be read; statistics-error.txt in the site's folder"
    ) as error:
        with_rules("sql_queries = true", sites=sites)
    assert "Alice" not in str(error.value)

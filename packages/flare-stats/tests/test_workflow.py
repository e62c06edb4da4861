"""The workflow and the executor, with sites in one process: what is computed, what is lost, and what goes on."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from stats_runs import OPEN, AtNoon, Recorded, federation, files_of, people, run, sites_of

from flare_core import SiteError, Task
from flare_core.testing import ExecutorConformance, FakeFederation, WorkflowConformance
from flare_stats.errors import StatsError
from flare_stats.executor import StatisticsExecutor

CONFIGS = {
    "count": {},
    "mean": {},
    "stddev": {},
    "histogram": {"*": {"bins": 5}},
    "quantile": {"*": [0.5]},
    "categories": {"*": {"values": ["f", "m"]}},
    "correlation": {},
}
FRAMES = {f"site-{number}": {"train": people(30 * number, number)} for number in (1, 2, 3)}


class TestPlain(WorkflowConformance):
    can_spare = 1

    def make(self):
        return AtNoon(CONFIGS, min_clients=2, hierarchy={"north": ["site-1", "site-2"], "south": ["site-3"]})

    def federation(self, **faults):
        return federation(sites_of(FRAMES), **faults)


class TestMasked(WorkflowConformance):
    can_spare = 1

    def make(self):
        return AtNoon(CONFIGS, min_clients=2, masked=True)

    def federation(self, **faults):
        return federation(sites_of(FRAMES, masked=True), **faults)


class TestExecutor(ExecutorConformance):
    def make(self):
        return StatisticsExecutor(data={"train": people(500)}, **OPEN)

    def tasks(self):
        config = {"mean": {"*": {}}, "quantile": {"*": [0.5]}, "distinct": {"*": {}}}
        start = {"config": config, "kinds": {"age": "int", "bmi": "float", "sex": "text"}}
        return [
            Task("stats.describe", {"config": config}),
            Task("stats.key", {}),
            Task("stats.deal", {"keys": {}, "session": b"run"}),
            Task("stats.summarize", {"start": start}),
            Task("stats.bins", {"start": start, "edges": {"age": [20.0, 50.0, 80.0]}, "means": {}}),
            Task("stats.ranks", {"start": start, "thresholds": {"train": {"age": np.array([30.0, 50.0])}}}),
            Task("stats.finish", {}),
        ]


def test_each_site_each_group_and_all_have_statistics_of_their_own():
    tree = {"north": {"mercy": ["site-1"], "grace": ["site-2"]}, "south": ["site-3"]}
    statistics, matrices, about, _ = run(sites_of(FRAMES), CONFIGS, hierarchy=tree)
    members = {
        "site-2": ["site-2"],
        "north": ["site-1", "site-2"],
        "north/mercy": ["site-1"],
        "south": ["site-3"],
        "Global": ["site-1", "site-2", "site-3"],
    }
    for place, sites in members.items():
        pooled = pd.concat([FRAMES[site]["train"] for site in sites])["bmi"].dropna()
        of = {name: statistics["bmi"][name][place]["train"] for name in ("count", "mean", "stddev", "quantile")}
        assert of["count"] == len(pooled)
        assert of["mean"] == pytest.approx(pooled.mean(), rel=1e-12)
        assert of["stddev"] == pytest.approx(pooled.std(), rel=1e-12)
        assert of["quantile"] == {"0.5": np.quantile(pooled, 0.5)}
        assert sum(count for _, _, count in statistics["bmi"]["histogram"][place]["train"]) == len(pooled)
        assert matrices[place]["train"]["features"] == ["age", "bmi"]
    assert about["levels"] == {
        "level 1": {"north": ["site-1", "site-2"], "south": ["site-3"]},
        "level 2": {"north/grace": ["site-2"], "north/mercy": ["site-1"]},
    }


def test_names_of_sites_can_tell_their_groups():
    frames = dict(zip(["north.mercy", "north.grace", "south.hope"], FRAMES.values(), strict=True))
    statistics, _, about, _ = run(sites_of(frames), {"count": {}}, hierarchy="region/hospital")
    assert about["levels"] == {"region": {"north": ["north.mercy", "north.grace"], "south": ["south.hope"]}}
    assert statistics["age"]["count"]["north"]["train"] == 90


def test_a_site_that_leaves_after_its_summary_is_missing_from_what_came_later_and_named():
    fed = federation(sites_of(FRAMES), leaves={"site-3": [1, 2]})
    statistics, _, about, _ = run({}, CONFIGS, min_clients=2, fed=fed)
    assert statistics["age"]["mean"]["site-3"]["train"] == pytest.approx(FRAMES["site-3"]["train"]["age"].mean())
    assert "site-3" not in statistics["age"]["histogram"]
    assert "site-3" not in statistics["age"]["quantile"]
    assert ["site-3", "train", "age", "histogram", "the site left or was late"] in about["refused"]
    assert ["site-3", "train", "age", "quantile", "the site left or was late"] in about["refused"]
    pooled = pd.concat([FRAMES[site]["train"] for site in ("site-1", "site-2")])["age"]
    assert statistics["age"]["quantile"]["Global"]["train"] == {"0.5": np.quantile(pooled, 0.5)}
    assert any("site-3 left or was late" in each for each in fed.warnings)


def test_too_few_sites_end_the_run_with_the_name_of_one_that_left():
    with pytest.raises(SiteError, match="site-3 left"):
        run(
            {}, CONFIGS, min_clients=3, fed=federation(sites_of(FRAMES), leaves={"site-3": [0]}, absent={"site-3": [1]})
        )


def test_a_masked_run_ends_if_a_site_leaves_after_the_first_total():
    fed = federation(sites_of(FRAMES, masked=True), leaves={"site-3": [1, 2]})
    with pytest.raises(SiteError, match="site-3"):
        run({}, CONFIGS, masked=True, min_clients=2, fed=fed)


def test_no_value_of_a_row_is_in_what_the_server_receives():
    random = np.random.default_rng(7)
    frames = {
        f"site-{number}": {"train": pd.DataFrame({"income": random.lognormal(10, 1, 400), "id": random.random(400)})}
        for number in (1, 2)
    }
    answers = Recorded()
    configs = {**CONFIGS, "distinct": {}, "min": {}, "max": {}, "quantile": {"*": [0.0, 0.1, 0.5, 0.9, 1.0]}}
    wishes = {"min_count": 10, "min_noise_level": 0.1, "max_noise_level": 0.3}
    fed = FakeFederation(sites_of(frames, **wishes), travel=answers)
    statistics, _, _, _ = run({}, configs, fed=fed)
    values = {value for of in frames.values() for value in of["train"].to_numpy().ravel()}
    everything = b"".join(answers.payloads)
    assert not [value for value in values if np.float64(value).tobytes() in everything]
    assert not [value for value in values if np.float64(value).byteswap().tobytes() in everything]
    text = json.dumps(statistics)
    assert not [value for value in values if repr(float(value)) in text]


def test_names_that_few_rows_have_do_not_travel():
    names = [f"patient {number}" for number in range(50)] + ["unknown"] * 30
    answers = Recorded()
    frames = {"site-1": {"train": pd.DataFrame({"name": names})}, "site-2": {"train": pd.DataFrame({"name": names})}}
    fed = FakeFederation(sites_of(frames, min_count=10), travel=answers)
    statistics, _, about, _ = run({}, {"categories": {}, "top_values": {}, "distinct": {}}, fed=fed)
    assert not [name for name in names[:50] if name.encode() in b"".join(answers.payloads)]
    assert statistics["name"]["categories"]["Global"]["train"] == {"unknown": 60}
    assert statistics["name"]["categories_other"]["Global"]["train"] == 100
    assert statistics["name"]["distinct"]["Global"]["train"] == 51
    rule = "min_count: values that fewer than 10 rows have are not named"
    assert ["site-1", "train", "name", "categories", rule] in about["refused"]


def test_without_any_wish_for_privacy_only_extremes_and_thresholds_are_values_of_rows():
    frame = pd.DataFrame({"income": np.random.default_rng(7).lognormal(10, 1, 400)})
    replies = []

    class Kept(StatisticsExecutor):
        def execute(self, task, context):
            replies.append(super().execute(task, context))
            return replies[-1]

    sites = {f"site-{number}": Kept(data={"train": frame}, **OPEN) for number in (1, 2)}
    run(sites, {**CONFIGS, "quantile": {"*": [0.1, 0.5]}})
    from flare_fobs import dumps

    everything = b"".join(map(dumps, replies))
    seen = {value for value in frame["income"] if np.float64(value).byteswap().tobytes() in everything}
    assert seen <= {frame["income"].min(), frame["income"].max()}


def test_a_kind_that_differs_is_that_of_most_sites_and_warned_of():
    frames = {
        "site-1": {"train": pd.DataFrame({"dose": [1.0, 2.0]})},
        "site-2": {"train": pd.DataFrame({"dose": [3, 4]})},
        "site-3": {"train": pd.DataFrame({"dose": ["5", "lots"]})},
    }
    statistics, _, _, fed = run(sites_of(frames), {"count": {}, "failure_count": {}, "mean": {}})
    assert statistics["dose"]["count"]["Global"]["train"] == 5
    assert statistics["dose"]["failure_count"]["site-3"]["train"] == 1
    assert statistics["dose"]["mean"]["Global"]["train"] == 3.0
    assert fed.warnings == ["dose is read as float, but is text at site-3"]


def test_a_feature_that_no_site_has_is_an_error_that_names_a_similar_one():
    with pytest.raises(ValueError, match="'agee', which no site has; did you mean 'age'"):
        run(sites_of(FRAMES), {"mean": {"agee": {}}})


def test_a_range_without_room_for_bins_is_refused_for_the_feature_alone():
    frames = {"site-1": {"train": pd.DataFrame({"far": [-1.7e308, 1.7e308], "near": [1.0, 2.0]})}}
    statistics, _, about, _ = run(sites_of(frames), {"histogram": {"*": {"bins": 2}}})
    assert "histogram" not in statistics["far"]
    assert [count for _, _, count in statistics["near"]["histogram"]["Global"]["train"]] == [1, 1]
    assert about["refused"][0][:4] == ["site-1", "train", "far", "histogram"]


@pytest.mark.parametrize("masked", [False, True])
def test_a_site_that_leaves_before_it_has_described_its_data_is_warned_of(masked):
    frames = {site: {"train": people(20)} for site in ("site-1", "site-2", "site-3")}
    sites = sites_of(frames, masked=masked)
    *_, about, fed = run(sites, {"count": {}}, masked=masked, min_clients=2, leaves={"site-2": [0]})
    assert about["sites"] == ["site-1", "site-3"]
    assert fed.warnings == ["site-2 left or was late; the statistics go on without it"]


def test_a_site_that_is_called_as_all_sites_are_is_refused():
    frames = {site: {"train": people(20)} for site in ("site-1", "Global")}
    with pytest.raises(StatsError, match="a site is called Global, which stands for all sites"):
        run(sites_of(frames), {"count": {}})


def test_the_table_shows_a_row_for_each_feature():
    *_, fed = run(sites_of(FRAMES), CONFIGS)
    (table,) = fed.tables
    assert table.title == "Statistics of 3 sites"
    assert [row[0] for row in table.rows] == ["age", "bmi", "sex"]
    assert table.columns[0] == "feature"


def test_a_long_table_is_cut():
    frame = pd.DataFrame({f"{'very' * 20}_{at}": [1.0] for at in range(100)})
    *_, fed = run(sites_of({"site-1": {"train": frame}}), {"count": {}})
    (table,) = fed.tables
    assert len(table.rows) == 61
    assert table.rows[-1][0] == "… 40 more"
    assert max(len(row[0]) for row in table.rows) == 30


def test_files_lie_in_the_folder_of_the_first_one():
    fed = federation(sites_of(FRAMES))
    fed.run(AtNoon({"count": {}}, min_clients=3, output="statistics/people.json"))
    assert {"statistics/people.json", "statistics/matrices.json", "statistics/about.json"} <= set(fed.files)


@pytest.mark.parametrize(
    "spoilt",
    [
        {"datasets": {"train": {"age": {"count": float("nan")}}}},
        {"datasets": {"train": {"age": {"mean": "high"}}}},
        {"datasets": {"train": {"age": {"var": -1.0}}}},
        {"datasets": {"train": {"weight": {"count": 3}}}},
        {"datasets": {"train": {"age": {"rows": [1, 2, 3]}}}},
        {"datasets": {"train": {"age": {"histogram": {"edges": [0, 1], "counts": [1, 2]}}}}},
        {"datasets": {"train": {"sex": {"categories": {"f": float("inf")}}}}},
        {"datasets": []},
        {"datasets": {}, "refused": "all"},
        {"datasets": {}, "rows": {"train": "many"}},
        {"datasets": {}, "matrices": {"train": {"features": ["age", "age"], "count": np.ones((2, 2))}}},
        {"datasets": {}, "matrices": {"train": {"features": ["age"], "count": np.ones((2, 2))}}},
        {"datasets": {}, "matrices": {"train": ["age"]}},
        {"datasets": {"train": {"age": {"distinct": {"sketch": b"none"}}}}},
        {"datasets": {"train": {"age": {"quantile": {"count": -3}}}}},
        {"datasets": {"train": {"age": {"quantile": {"own": {0.5: "high"}}}}}},
        {"datasets": {"train": {"age": {"histogram": {"edges": [0.0, 1.0, 2.0], "counts": [1, 1]}}}}},
        "nothing",
    ],
)
def test_a_hostile_summary_ends_the_run_with_the_name_of_the_site(spoilt):
    class Hostile(StatisticsExecutor):
        def execute(self, task, context):
            return spoilt if task.name == "stats.summarize" else super().execute(task, context)

    sites = sites_of(FRAMES) | {"site-2": Hostile(data=FRAMES["site-2"], **OPEN)}
    with pytest.raises(SiteError, match="site-2"):
        run(sites, {**CONFIGS, "histogram": {"*": {"bins": 5}, "age": {"bins": 2, "range": [0, 100]}}})


@pytest.mark.parametrize(
    ("task", "spoilt"),
    [
        ("stats.bins", {"datasets": {"train": {"bmi": {"histogram": {"edges": [0.0, 1.0], "counts": [1]}}}}}),
        ("stats.bins", {"datasets": {"train": {"weight": {}}}}),
        ("stats.ranks", {"counts": {}}),
        ("stats.ranks", {"counts": {"train": {"age": np.zeros(3), "bmi": np.zeros(3)}}}),
        ("stats.describe", {"datasets": {"train": [["age"]]}}),
        ("stats.describe", {"datasets": {"train": [["age", "magic"]]}}),
    ],
)
def test_another_hostile_answer_ends_the_run_with_the_name_of_the_site(task, spoilt):
    class Hostile(StatisticsExecutor):
        def execute(self, given, context):
            return spoilt if given.name == task else super().execute(given, context)

    sites = sites_of(FRAMES) | {"site-2": Hostile(data=FRAMES["site-2"], **OPEN)}
    with pytest.raises(SiteError, match="site-2"):
        run(sites, CONFIGS)


@pytest.mark.parametrize(
    "spoilt",
    [
        {"offered": []},
        {"offered": {"train": {"weight": ["count"]}}},
        {"offered": {"train": {"age": 3}}},
        {"offered": {}, "matrices": {"train": 3}},
        {"offered": {}, "rank_error": float("nan")},
    ],
)
def test_a_hostile_offer_ends_the_run_with_the_name_of_the_site(spoilt):
    class Hostile(StatisticsExecutor):
        def execute(self, task, context):
            return spoilt if task.name == "stats.offer" else super().execute(task, context)

    sites = sites_of(FRAMES, masked=True) | {"site-2": Hostile(data=FRAMES["site-2"], masked=True, **OPEN)}
    with pytest.raises(SiteError, match="site-2"):
        run(sites, CONFIGS, masked=True)


def test_a_run_with_files_of_a_killed_site_gives_the_same_answers(tmp_path):
    from flare_core.testing import FakeSite

    config = {"min": {"*": {}}, "quantile": {"*": [0.5]}}
    start = {"config": config, "kinds": {"age": "int", "bmi": "float"}}
    wishes = {"min_count": 10, "min_noise_level": 0.1, "max_noise_level": 0.3}
    task = Task("stats.summarize", {"start": start})
    site = FakeSite(folder=tmp_path)
    first = StatisticsExecutor(data={"train": people(500)}, **wishes)
    answer = first.execute(task, site)
    assert (tmp_path / "statistics.fobs").stat().st_mode & 0o077 == 0
    again = StatisticsExecutor(data={"train": people(500, seed=9)}, **wishes).execute(task, site)
    assert again == answer  # not computed again, from whatever data
    thresholds = {"train": {"bmi": np.linspace(10, 40, 50)}}
    asked = Task("stats.ranks", {"start": start, "thresholds": thresholds})
    restarted = StatisticsExecutor(data={"train": people(500)}, **wishes)
    expected = first.execute(asked, site)["counts"]["train"]["bmi"]
    assert restarted.execute(asked, site)["counts"]["train"]["bmi"].tolist() == expected.tolist()


def test_the_state_is_kept_between_rounds():
    fed = federation(sites_of(FRAMES))
    first = AtNoon(CONFIGS, min_clients=3)
    fed.run(first)
    second = AtNoon(CONFIGS, min_clients=3)
    second.restore(first.state())
    again = federation(sites_of(FRAMES))
    again.run(second)
    assert files_of(again) == files_of(fed)

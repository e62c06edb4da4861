"""Totals under masks: exact, equal to those without masks, and silent about single sites."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stats_runs import NUMBERS, OPEN, AtNoon, federation, files_of, people, run, sites_of

from flare_core import SiteError, Task
from flare_core.testing import FakeSite
from flare_stats import StatsError
from flare_stats.executor import StatisticsExecutor
from flare_stats.masked.fixed_point import from_digits, to_digits

CONFIGS = {
    **NUMBERS,
    "histogram": {"*": {"bins": 6}, "age": {"bins": 6, "range": [20, 80]}},
    "quantile": {"*": [0.1, 0.5, 0.9]},
    "categories": {"*": {"values": ["f", "m"]}},
    "balance": {"sex": {}},
    "correlation": {},
    "covariance": {},
}
FRAMES = {f"site-{number}": {"train": people(30 * number, number)} for number in (1, 2, 3)}
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(st.tuples(NUMBERS, st.integers(1, 10**6)), max_size=10))
def test_digits_of_numbers_add_up_exactly(pairs):
    values = [Fraction(value) * count for value, count in pairs]
    total = sum((to_digits(value) for value in values), np.zeros(100, np.int64))
    assert from_digits(total) == sum(values, Fraction(0))


@given(NUMBERS)
def test_squares_have_room(value):
    square = Fraction(value) ** 2 * 2**62
    unit = Fraction(1, 2**1074)
    assert abs(from_digits(to_digits(square)) - square) < unit


def test_totals_are_those_without_masks():
    masked, of_masked, about, _ = run(sites_of(FRAMES, masked=True), CONFIGS, masked=True)
    plain, of_plain, _, _ = run(sites_of(FRAMES), CONFIGS)
    for feature, statistics in plain.items():
        for name, values in statistics.items():
            assert masked[feature][name] == {"Global": values["Global"]}, (feature, name)
    for name in ("correlation", "covariance"):
        np.testing.assert_allclose(of_masked["Global"]["train"][name], of_plain["Global"]["train"][name], rtol=1e-14)
    assert (about["masked"], about["rows"], about["sites"]) == (True, {}, list(FRAMES))


def test_the_variance_of_values_far_from_zero_keeps_its_digits():
    random = np.random.default_rng(1)
    frames = {f"site-{at}": {"train": pd.DataFrame({"x": 1e9 + random.normal(size=500)})} for at in range(3)}
    found, _, _, _ = run(sites_of(frames, masked=True), {"var": {}, "mean": {}}, masked=True)
    pooled = np.concatenate([of["train"]["x"] for of in frames.values()])
    exact = [Fraction(value) for value in pooled]
    mean = sum(exact) / len(exact)
    wanted = float(sum((value - mean) ** 2 for value in exact) / (len(exact) - 1))
    assert found["x"]["var"]["Global"]["train"] == pytest.approx(wanted, rel=1e-14)
    assert found["x"]["mean"]["Global"]["train"] == float(mean)


def test_an_empty_site_adds_nothing_and_is_not_told_apart():
    frames = {**FRAMES, "site-4": {"train": people(30).iloc[:0]}}
    found, _, about, _ = run(sites_of(frames, masked=True), CONFIGS, masked=True)
    without, _, _, _ = run(sites_of(FRAMES, masked=True), CONFIGS, masked=True)
    assert found == without
    assert about["refused"] == []


def test_all_sites_empty_have_totals_of_zero():
    frames = {site: {"train": people(30).iloc[:0]} for site in FRAMES}
    found, _, _, _ = run(sites_of(frames, masked=True), CONFIGS, masked=True)
    assert found["bmi"]["count"]["Global"]["train"] == 0
    assert "mean" not in found["bmi"]


def test_the_server_receives_uniform_numbers_only():
    received = []

    class Kept(StatisticsExecutor):
        def execute(self, task, context):
            answer = super().execute(task, context)
            received.append((task.name, answer))
            return answer

    sites = {site: Kept(data=of, masked=True, **OPEN) for site, of in FRAMES.items()}
    run(sites, CONFIGS, masked=True)
    names = {name for name, _ in received}
    assert names == {"stats.describe", "stats.offer", "stats.key", "stats.keys", "stats.total", "stats.finish"}
    for name, answer in received:
        if name == "stats.total":
            numbers = answer["numbers"]
            assert numbers.dtype == np.uint64
            if len(numbers) > 100:
                assert 0.3 < (numbers >> np.uint64(63)).mean() < 0.7  # counts would be small, with upper bits of 0
        if name == "stats.offer":
            assert set(answer) == {"offered", "matrices", "refused", "rank_error"}
            assert answer["rank_error"] == 0.0


def test_a_feature_of_one_site_alone_is_refused_since_its_total_would_be_its_own():
    more = FRAMES["site-2"]["train"].assign(dose=1.5)
    frames = {**FRAMES, "site-2": {"train": more}}
    found, _, about, _ = run(sites_of(frames, masked=True), {"mean": {}}, masked=True)
    assert found["dose"] == {}
    assert about["refused"] == [
        ["site-2", "train", "dose", "mean", "masked: no other site has it, so that a total would be its own"]
    ]


def test_few_values_at_all_sites_together_are_refused():
    found, _, about, _ = run(sites_of(FRAMES, masked=True), {"mean": {}}, masked=True, min_count=175)
    assert set(found["age"]) == {"mean"}
    assert found["bmi"] == {}
    rule = "min_count: all sites together have fewer than 175 values"
    assert ["site-1", "train", "bmi", "mean", rule] in about["refused"]


def test_many_bins_for_few_values_of_all_sites_are_refused():
    configs = {"histogram": {"age": {"bins": 18, "range": [0, 90]}, "bmi": {"bins": 19}}, "mean": {}}
    fed = federation(sites_of(FRAMES, masked=True))
    fed.run(AtNoon(configs, min_clients=3, masked=True, max_bins_percent=10))
    statistics, _, about = files_of(fed)
    assert "histogram" in statistics["age"]  # 18 bins of 180 values
    assert set(statistics["bmi"]) == {"mean"}
    assert about["refused"][0][2:4] == ["bmi", "histogram"]


def test_a_site_that_is_started_again_makes_all_mask_anew_with_the_same_totals():
    class Restarted(StatisticsExecutor):
        """Forgets everything but its files once, in the middle of the questions about ranks."""

        asked = 0

        def execute(self, task, context):
            if task.name == "stats.total" and task.data["about"] == "ranks":
                self.asked += 1
                if self.asked == 3:
                    count = self.asked
                    self.__init__(data=self.data, masked=True, **OPEN)
                    self.asked = count + 1
            return super().execute(task, context)

    sites = sites_of(FRAMES, masked=True) | {"site-2": Restarted(data=FRAMES["site-2"], masked=True, **OPEN)}
    found, _, _, fed = run(sites, CONFIGS, masked=True)
    undisturbed, _, _, _ = run(sites_of(FRAMES, masked=True), CONFIGS, masked=True)
    assert found == undisturbed
    assert len([task for site, task in fed.tasks if (site, task.name) == ("site-1", "stats.key")]) == 2


def test_a_site_that_answers_something_else_is_named():
    class Hostile(StatisticsExecutor):
        def execute(self, task, context):
            return {"numbers": np.zeros(3)} if task.name == "stats.total" else super().execute(task, context)

    sites = sites_of(FRAMES, masked=True) | {"site-2": Hostile(data=FRAMES["site-2"], masked=True, **OPEN)}
    with pytest.raises(SiteError, match="site-2: its part of a total"):
        run(sites, CONFIGS, masked=True)


@pytest.mark.parametrize("task", ["stats.summarize", "stats.bins", "stats.ranks"])
def test_a_masked_site_answers_no_question_without_masks(task):
    executor = StatisticsExecutor(data=FRAMES["site-1"], masked=True, **OPEN)
    with pytest.raises(StatsError, match=f"the task '{task}' is unknown"):
        executor.execute(Task(task, {"start": {"config": {}, "kinds": {}}}), FakeSite())


def test_a_masked_site_gives_no_numbers_before_it_has_agreed_on_masks():
    executor = StatisticsExecutor(data=FRAMES["site-1"], masked=True, **OPEN)
    start = {"config": {"count": {"*": {}}}, "kinds": {"age": "int"}}
    task = Task("stats.total", {"start": start, "about": "sums", "offer": {}, "matrices": {}, "epoch": 1})
    assert executor.execute(task, FakeSite()) == {"is_behind": True}


def test_one_site_cannot_be_masked():
    fed = federation(sites_of({"site-1": FRAMES["site-1"]}, masked=True))
    with pytest.raises(SiteError, match="fewer than two sites"):
        run({}, CONFIGS, masked=True, min_clients=1, fed=fed)


def test_a_total_beyond_float64_is_left_out_and_named():
    large = pd.DataFrame({"x": [1e308, 1.5e308], "y": [1e153, -1e153]})
    frames = {site: {"train": large} for site in ("site-1", "site-2")}
    statistics, matrices, about, _ = run(
        sites_of(frames, masked=True), {"sum": {}, "mean": {}, "stddev": {}, "covariance": {}}, masked=True
    )
    assert statistics["x"]["mean"]["Global"]["train"] == 1.25e308
    assert "sum" not in statistics["x"]
    assert statistics["y"]["sum"]["Global"]["train"] == 0
    beyond = {tuple(row[2:4]) for row in about["refused"] if row[4] == "beyond the range of float64"}
    assert beyond == {("x", "sum"), ("x", "stddev"), ("x", "covariance")}
    assert matrices["Global"]["train"]["features"] == ["y"]

"""Generators of one's own: only the methods that are overridden are used, and a failure costs one statistic."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from stats_runs import NUMBERS, OPEN, federation, people, run

from flare_core import SiteError
from flare_stats import Bin, DataType, Feature, Histogram, HistogramType, Statistics
from flare_stats.executor import StatisticsExecutor

VALUES = {"site-1": [20.0, 22.0, 24.0, 31.0], "site-2": [30.0, 26.0]}


class Own(Statistics):
    """The peer's methods over a list of numbers."""

    def initialize(self, context):
        self.values = np.array(VALUES[context.party])
        self.asked = None

    def pre_run(self, statistics, num_of_bins, bin_ranges):
        self.asked = (list(statistics), dict(num_of_bins), dict(bin_ranges))
        return {}

    def features(self):
        return {"train": [Feature("bmi", DataType.FLOAT)]}

    def count(self, dataset_name, feature_name):
        return len(self.values)

    def sum(self, dataset_name, feature_name):
        return float(self.values.sum())


class Whole(Own):
    """All methods."""

    def mean(self, dataset_name, feature_name):
        return float(self.values.mean())

    def stddev(self, dataset_name, feature_name):
        return float(self.values.std(ddof=1))

    def min_value(self, dataset_name, feature_name):
        return float(self.values.min())

    def max_value(self, dataset_name, feature_name):
        return float(self.values.max())

    def failure_count(self, dataset_name, feature_name):
        return 1

    def histogram(self, dataset_name, feature_name, num_of_bins, global_min_value, global_max_value):
        counts, edges = np.histogram(self.values, num_of_bins, (global_min_value, global_max_value))
        bins = [Bin(*each) for each in zip(edges[:-1], edges[1:], counts, strict=True)]
        return Histogram(HistogramType.STANDARD, bins)

    def quantiles(self, dataset_name, feature_name, percentiles):
        return {each: float(np.quantile(self.values, each)) for each in percentiles}


class WithRanks(Whole):
    def ranks(self, dataset_name, feature_name, thresholds):
        return [int((self.values <= each).sum()) for each in thresholds]


class WithShare(Own):
    """A variance as a share of that of all sites, which needs their mean."""

    def variance_with_mean(self, dataset_name, feature_name, global_mean, global_count):
        return float(((self.values - global_mean) ** 2).sum() / (global_count - 1))


class Failing(Whole):
    def stddev(self, dataset_name, feature_name):
        raise RuntimeError("no such column in the warehouse")

    def min_value(self, dataset_name, feature_name):
        return float("nan")


class OverData(Statistics):
    """Data of its own, and one statistic computed otherwise."""

    def initialize(self, context):
        self.data = {"train": people(40, seed=len(context.party))}

    def mean(self, dataset_name, feature_name):
        return 7.0


EVERYTHING = {
    **{name: options for name, options in NUMBERS.items() if name != "missing"},  # the peer has no method for it
    "histogram": {"*": {"bins": 3}},
    "quantile": {"*": [0.5]},
}


def of(generator, configs=EVERYTHING, **wishes):
    sites = {site: StatisticsExecutor(stats_generator=generator(), **{**OPEN, **wishes}) for site in VALUES}
    statistics, _, about, fed = run(sites, configs)
    return statistics["bmi"], about, fed


POOLED = np.array([each for values in VALUES.values() for each in values])


def test_a_generator_with_all_methods_of_the_peer_is_merged_as_data_are():
    found, about, _ = of(Whole)
    everywhere = {name: values["Global"]["train"] for name, values in found.items() if "Global" in values}
    assert (everywhere["count"], everywhere["failure_count"]) == (6, 2)
    assert (everywhere["min"], everywhere["max"]) == (20.0, 31.0)
    for name, wanted in (("sum", POOLED.sum()), ("mean", POOLED.mean()), ("stddev", POOLED.std(ddof=1))):
        assert everywhere[name] == pytest.approx(wanted, rel=1e-14)
    counts, _ = np.histogram(POOLED, 3)
    assert [count for _, _, count in everywhere["histogram"]] == counts.tolist()
    assert found["quantile"] == {"site-1": {"train": {"0.5": 23.0}}, "site-2": {"train": {"0.5": 28.0}}}
    rule = "the generator of site-1, site-2 has quantiles(), but no ranks(), which those of all are made of"
    assert about["refused"] == [["Global", "train", "bmi", "quantile", rule]]


def test_ranks_make_quantiles_of_all_sites():
    found, about, _ = of(WithRanks)
    assert found["quantile"]["Global"]["train"] == {"0.5": np.quantile(POOLED, 0.5)}
    assert found["quantile"]["site-1"]["train"] == {"0.5": 23.0}
    assert about["refused"] == []


def test_a_share_of_the_variance_is_enough():
    found, _, _ = of(WithShare)
    assert found["var"]["Global"]["train"] == pytest.approx(POOLED.var(ddof=1), rel=1e-12)
    assert found["stddev"]["site-2"]["train"] == pytest.approx(np.std(VALUES["site-2"], ddof=1), rel=1e-12)


def test_what_is_not_overridden_is_missing_with_the_name_of_the_method():
    found, about, _ = of(Own)
    assert set(found) == {"count", "sum", "mean"}  # the mean follows
    reasons = {(site, statistic): rule for site, _, _, statistic, rule in about["refused"]}
    assert reasons["site-1", "stddev"] == "Own has no stddev()"
    assert reasons["site-2", "min"] == "Own has no min_value()"
    assert reasons["site-2", "histogram"] == "Own has no histogram()"


def test_a_method_that_fails_costs_its_statistic_at_its_site_alone():
    class OneFails(Whole):
        def stddev(self, dataset_name, feature_name):
            if len(self.values) == 2:
                raise RuntimeError("no such column in the warehouse")
            return super().stddev(dataset_name, feature_name)

    found, about, _ = of(OneFails)
    assert found["stddev"]["site-1"]["train"] == pytest.approx(np.std(VALUES["site-1"], ddof=1))
    assert "site-2" not in found["stddev"]
    assert found["mean"]["Global"]["train"] == pytest.approx(POOLED.mean())
    assert ["site-2", "train", "bmi", "stddev", "RuntimeError: no such column in the warehouse"] in about["refused"]


def test_a_method_that_returns_no_number_is_a_failure():
    found, about, _ = of(Failing)
    assert "min" not in found
    assert ["site-1", "train", "bmi", "min", "ValueError: it returned nan"] in about["refused"]
    assert "mean" in found


def test_data_of_a_generator_answer_what_it_does_not_override():
    sites = {site: StatisticsExecutor(stats_generator=OverData(), **OPEN) for site in ("site-1", "site-02")}
    statistics, _, _, _ = run(sites, EVERYTHING)
    pooled = pd.concat([people(40, seed=len(site)) for site in sites])["bmi"].dropna()
    assert statistics["bmi"]["mean"]["Global"]["train"] == 7.0
    assert statistics["bmi"]["quantile"]["Global"]["train"] == {"0.5": np.quantile(pooled, 0.5)}
    assert statistics["bmi"]["max"]["Global"]["train"] == pooled.max()


def test_the_least_count_holds_for_generators_too():
    found, about, _ = of(Whole, min_count=3)
    assert set(found["mean"]) == {"site-1", "Global"}
    assert ["site-2", "train", "bmi", "mean", "min_count: fewer than 3 values"] in about["refused"]


def test_ranks_of_a_generator_are_told_in_groups():
    class Many(WithRanks):
        def initialize(self, context):
            self.values = np.arange(105.0) + len(context.party)

    found, about, _ = of(Many, {"quantile": {"*": [0.5, 1.0]}}, min_count=10)
    for place in ("site-1", "Global"):
        assert found["quantile"][place]["train"] == {"0.5": pytest.approx(60, abs=10), "1": pytest.approx(110, abs=10)}
    assert about["quantile_rank_error"] == pytest.approx(0.1)


def test_ranks_of_a_generator_are_used_where_it_has_data_as_well():
    class Both(OverData):
        def ranks(self, dataset_name, feature_name, thresholds):
            return [17 * (threshold >= 3.0) for threshold in thresholds]

    sites = {"site-1": StatisticsExecutor(stats_generator=Both(), **OPEN)}
    statistics, _, _, _ = run(sites, {"quantile": {"bmi": [0.2, 0.9]}})
    assert statistics["bmi"]["quantile"]["Global"]["train"] == {"0.2": 3.0}  # more values than counts are not found


@pytest.mark.parametrize(
    ("generator", "message"),
    [
        (Statistics(), "neither overrides features"),
        ("statistics", "derive it from flare_stats.Statistics"),
        (None, "site-1 has no data"),
    ],
)
def test_a_site_without_statistics_names_itself_and_the_remedy(generator, message):
    sites = {"site-1": StatisticsExecutor(stats_generator=generator, **OPEN)}
    with pytest.raises(SiteError, match=message):
        run(sites, EVERYTHING)


def test_methods_are_called_in_their_order():
    calls = []

    class Noted(Whole):
        def initialize(self, context):
            calls.append("initialize")
            super().initialize(context)

        def pre_run(self, statistics, num_of_bins, bin_ranges):
            calls.append(("pre_run", num_of_bins, bin_ranges))

        def finalize(self, context):
            calls.append("finalize")

    run(
        {},
        {"histogram": {"*": {"bins": 3}}},
        fed=federation({"site-1": StatisticsExecutor(stats_generator=Noted(), **OPEN)}),
        min_clients=1,
    )
    assert calls == ["initialize", ("pre_run", {"bmi": 3}, {"bmi": None}), "finalize"]

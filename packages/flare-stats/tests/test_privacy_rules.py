"""Rules without differential privacy, against somebody who asks in order to learn about single records."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from exact_answers import CONFIG, Place, groups, histogram, numbers, summary
from hypothesis import given, settings
from hypothesis import strategies as st

from flare_stats.privacy.suppression import Binning, shown_beside, shown_categories, shown_counts

EDGES = [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]
AGES = [*range(20, 40), *range(40, 80, 2), *range(41, 60)]  # 59 values


@pytest.fixture
def place(tmp_path):
    made = Place(tmp_path)
    made.write("")
    return made


def test_nothing_is_said_about_few_values(place):
    found, refused = place.ask(few=numbers(range(9), edges=EDGES), enough=numbers(range(10)))
    assert set(found) == {"enough"}
    assert refused["few", "count"] == refused["few", "mean"] == "min_count: fewer than 10 values"


def test_an_empty_column_is_like_one_with_few_values(place):
    found, refused = place.ask(none=numbers([]), few=numbers(range(9)))
    assert found == {}
    assert refused["none", "count"] == refused["few", "count"]


def misread(values, failures, missing=0):
    """The statistics of a column of numbers with decimal commas, which are no numbers here."""
    return numbers(range(values), missing=missing) | {"failure_count": failures}


@pytest.mark.parametrize(("values", "missing"), [(0, 0), (0, 12), (3, 7)])
def test_a_refusal_tells_how_many_values_are_no_numbers(place, caplog, values, missing):
    found, refused = place.ask(weight=misread(values, 279, missing))
    assert found == {}
    assert refused["weight", "mean"] == "min_count: fewer than 10 values; 279 values are no numbers"
    assert f"weight of train: 279 values are no numbers and {values} are, fewer than min_count = 10" in caplog.text


@pytest.mark.parametrize(
    ("rules", "column"),
    [
        ("", misread(3, 279)),  # whoever knows the number of rows would know that of the values
        ("", misread(0, 279, missing=1)),
        ("", misread(0, 9)),
        ('forbidden_statistics = ["failure_count"]', misread(0, 279)),
    ],
)
def test_only_the_sites_log_tells_how_many_values_are_no_numbers_where_the_rules_hide_it(place, caplog, rules, column):
    place.write(rules)
    _, refused = place.ask(weight=column)
    assert refused["weight", "mean"] == "min_count: fewer than 10 values"
    assert f"weight of train: {column['failure_count']} values are no numbers" in caplog.text


def test_the_number_of_values_that_are_no_numbers_is_rounded_and_not_told_again_after_few_were_added(place):
    place.write("round_counts_to = 5")
    for failures, told in ((279, "; 280 values are no numbers"), (281, ""), (289, "; 290 values are no numbers")):
        _, refused = place.ask(str(failures), weight=misread(0, failures))
        assert refused["weight", "mean"] == f"min_count: fewer than 10 values{told}"


def test_the_number_of_values_that_are_no_numbers_is_not_told_after_the_values_were(place):
    place.ask("1", weight=misread(20, 279))
    _, refused = place.ask("2", weight=misread(0, 299))
    assert refused["weight", "mean"] == "min_count: fewer than 10 values"


def test_a_data_set_of_few_rows_is_left_out(place):
    found = place.policy().apply(summary(age=numbers(range(9))), config=CONFIG)
    assert found["rows"] == {}
    assert found["datasets"] == {"train": {}}


def test_the_sum_of_a_single_record_is_not_told_by_mean_times_count(place):
    found, _ = place.ask(income=numbers([71_234.56]))
    assert found == {}


def test_sums_and_means_have_only_so_many_digits(place):
    found, _ = place.ask(age=numbers(np.linspace(20, 40.123456789, 50)))
    age = found["age"]
    assert age["mean"] == pytest.approx(30.0617283945, rel=1e-5)
    assert age["mean"] == 30.0617
    assert age["sum"] == 1503.09
    assert age["mean_low"] == 0.0


def test_forbidden_statistics_take_those_with_them_that_would_tell_them(place):
    place.write('forbidden_statistics = ["mean"]\n[features.sex]\nforbidden_statistics = ["balance"]')
    found, refused = place.ask(age=numbers(AGES), sex=groups({"f": 30, "m": 40}))
    assert not {"mean", "mean_low", "sum"} & set(found["age"])
    assert "categories" not in found["sex"]
    assert "categories_other" not in found["sex"]
    assert refused["age", "mean"] == "forbidden_statistics"
    assert refused["age", "sum"] == "forbidden_statistics: sum and the count tell mean"
    assert refused["sex", "categories"] == "features.sex.forbidden_statistics: categories and the count tell balance"


def test_a_forbidden_feature_is_like_one_that_does_not_exist(place):
    place.write('forbidden_features = ["patient_*"]')
    policy = place.policy()
    assert policy.describe({"train": [["age", "int"], ["patient_id", "text"]]}) == {"train": [["age", "int"]]}
    answer = summary(age=numbers(AGES), patient_id=groups({"a": 59}))
    answer["refused"] = [["train", "patient_id", "mean", "values of kind text have none"]]
    found = policy.apply(answer, config=CONFIG)
    assert "patient_id" not in repr(found)


def test_an_entry_that_the_policy_does_not_know_never_leaves(place):
    found, _ = place.ask(age={**numbers(AGES), "sorted_values": AGES})
    assert "sorted_values" not in found["age"]


def test_small_bins_are_shown_as_empty_and_not_told_by_subtraction_from_the_total(place):
    values = [10, 11, *range(20, 40), *range(40, 60), *range(60, 72)]  # 2, 20, 20, 12, 0
    found, refused = place.ask(age=numbers(values, edges=EDGES))
    assert found["age"]["histogram"]["counts"] == [0, 20, 20, 0, 0]  # 12 are hidden for the sake of 2
    assert refused["age", "histogram"] == "min_bin: bins with fewer than 5 values are shown as 0"


def test_a_histogram_of_nothing_but_small_bins_is_refused(place):
    place.write("max_bins_percent = 100")
    found, refused = place.ask(age=numbers(range(40), edges=np.arange(0, 41).tolist()))
    assert "histogram" not in found["age"]
    assert refused["age", "histogram"] == "min_bin: no bin has 5 values that may be shown"


def test_narrow_bins_do_not_show_where_values_lie(place):
    """Whether a bin is empty or holds one value must not be seen, or a bin could be as narrow as a value is exact."""
    place.write("max_bins_percent = 100")
    edges = [0.0, *np.linspace(65.3, 65.4, 30).tolist(), 90.0, 200.0]
    values = [*range(70, 120), 65.351, 3, 4, 5, 6, 7]
    found, _ = place.ask(weight=numbers(values, edges=edges))
    assert found["weight"]["histogram"]["counts"] == [0] * 30 + [20, 30]


def test_a_histogram_with_a_million_bins_is_refused_before_it_is_computed(place):
    policy = place.policy(max_bins_percent=100)
    assert policy.refusal("age", "histogram", bins=1_000_000) == "max_bins: 1,000,000 bins, at most 1,000 are allowed"
    edges = np.linspace(0, 100, 1002).tolist()
    found, refused = place.ask(age=numbers(np.arange(0, 100, 0.001), edges=edges))
    assert "histogram" not in found["age"]
    assert refused["age", "histogram"] == "max_bins: 1,001 bins, at most 1,000 are allowed"


def test_bins_are_limited_by_the_number_of_values(place):
    found, refused = place.ask(age=numbers(AGES, edges=np.linspace(0, 100, 7).tolist()))  # 6 bins of 59 values
    assert "histogram" not in found["age"]
    assert refused["age", "histogram"] == "max_bins_percent: more bins than 10 % of the values"
    found, _ = place.ask(age=numbers(AGES, edges=EDGES))
    assert "histogram" in found["age"]


def test_an_edge_that_is_moved_does_not_tell_the_values_in_between(place):
    place.write("max_bins_percent = 100")
    values = [*np.linspace(1, 19, 40), 20.05, *np.linspace(21, 39, 40)]
    first, _ = place.ask("1", age=numbers(values, edges=[0, 20, 40]))
    assert first["age"]["histogram"]["counts"] == [40, 41]
    second, refused = place.ask("2", age=numbers(values, edges=[0, 20.1, 40]))
    assert "histogram" not in second["age"]
    assert refused["age", "histogram"].startswith("min_bin")
    coarse, _ = place.ask("3", age=numbers(values, edges=[0, 40]))
    assert coarse["age"]["histogram"]["counts"] == [81]


def test_a_coarse_bin_does_not_tell_a_hidden_one_inside_it(place):
    place.write("max_bins_percent = 100")
    values = [*[5] * 20, *[15] * 3, *[25] * 20, *[35] * 4]
    first, _ = place.ask("1", age=numbers(values, edges=[0, 10, 20, 30, 40]))
    assert first["age"]["histogram"]["counts"] == [20, 0, 20, 0]
    second, _ = place.ask("2", age=numbers(values, edges=[0, 20, 40]))
    assert "histogram" not in second["age"]  # 23 - 20 would be 3


def test_other_edges_are_answered_only_so_many_times(place):
    place.write("max_bins_percent = 100\nmax_binnings = 2")
    values = [*[5] * 20, *[15] * 20, *[25] * 20]
    assert "histogram" in place.ask("1", age=numbers(values, edges=[0, 10, 20, 30]))[0]["age"]
    assert "histogram" in place.ask("2", age=numbers(values, edges=[0, 10, 30]))[0]["age"]
    found, refused = place.ask("3", age=numbers(values, edges=[0, 20, 30]))
    assert "histogram" not in found["age"]
    assert refused["age", "histogram"] == "max_binnings: histograms with 2 other edges were answered"
    assert "histogram" in place.ask("4", age=numbers(values, edges=[0, 10, 20, 30]))[0]["age"]


def test_a_found_range_has_the_rules_of_a_given_one_also_after_a_restart(place):
    config = {"histogram": {"age": {"bins": 2}}}
    found, _ = place.ask(config=config, age=numbers(AGES))
    assert found["age"]["count"] == 59
    bins = {"datasets": {"train": {"age": {"histogram": histogram(AGES, [0, 77, 100])}}}}
    for policy in (place.policy(), place.policy()):
        shown = policy.apply(bins, config=config, question="bins")
        assert shown["datasets"]["train"]["age"] == {}  # 57 and 2
        assert shown["refused"][0][:3] == ["train", "age", "histogram"]


def test_a_run_that_leaves_the_summary_out_gets_no_histogram(place):
    """The number of values would be that of an earlier run, and a record that was added since would show."""
    place.ask("1", age=numbers(AGES))
    bins = {"datasets": {"train": {"age": {"histogram": histogram([*AGES, 33], EDGES)}}}}
    found = place.policy("2").apply(bins, config={"histogram": {"age": {}}}, question="bins")
    assert found["datasets"]["train"] == {}
    assert found["refused"] == [["train", "age", "histogram", "min_count: the run has no summary of the feature"]]


def test_the_difference_between_two_data_sets_does_not_tell_the_record_in_which_they_differ(place):
    place.ask("1", age=numbers(AGES))
    found, refused = place.ask("2", age=numbers([*AGES, 33]))
    assert found == {}
    assert refused["age", "mean"].startswith("min_difference: fewer than 10 values were added or removed since")
    found, _ = place.ask("3", age=numbers([*AGES[:-1], 33]))  # one record replaced
    assert found == {}
    found, _ = place.ask("4", age=numbers([*AGES, *range(20, 30)]))
    assert found["age"]["count"] == len(AGES) + 10
    found, _ = place.ask("5", age=numbers(AGES))  # the first data again
    assert found["age"]["count"] == len(AGES)


def test_jobs_that_ask_for_different_things_about_the_same_data_are_answered(place):
    town = groups({"a": 40, "b": 30, "c": 20}, others=10)
    assert place.ask("1", age=numbers(AGES), town=town)[0].keys() == {"age", "town"}
    fewer = groups({"a": 40, "b": 30}, others=30)  # the two most frequent ones
    without = {name: value for name, value in numbers(AGES).items() if name not in ("var", "min", "max")}
    assert place.ask("2", age=without, town=fewer)[0].keys() == {"age", "town"}
    moved = groups({"a": 41, "b": 29, "c": 20}, others=10)
    assert place.ask("3", town=moved)[0] == {}


def test_another_name_of_the_data_set_or_of_the_file_does_not_hide_that_the_data_are_the_same(place, tmp_path):
    (tmp_path / "train.csv").write_text("age\n1\n")
    (tmp_path / "link.csv").symlink_to(tmp_path / "train.csv")
    place.ask("1", source=str(tmp_path / "train.csv"), age=numbers(AGES))
    for same in (tmp_path / "link.csv", {"path": f"{tmp_path}/./train.csv", "columns": ["age"]}):
        found, _ = place.ask("2", source=same, age=numbers([*AGES, 33]))
        assert found == {}


def test_categories_are_not_told_by_the_few_records_that_were_added(place):
    place.ask("1", town=groups({"a": 40, "b": 30, "c": 20}))
    found, _ = place.ask("2", town=groups({"a": 41, "b": 39, "c": 30}))  # a by 1, b by 9, c by 10
    assert found["town"]["categories"] == {"c": 30, "b": 39}
    assert found["town"]["categories_other"] == 41


def test_bins_are_not_told_by_the_few_records_that_were_added(place):
    place.write("max_bins_percent = 100")
    first, second, third = [5] * 40, [15] * 30, [25] * 20
    place.ask("1", age=numbers([*first, *second, *third], edges=[0, 10, 20, 30]))
    more = [*first, 5, *second, *[15] * 9, *third, *[25] * 10]
    found, _ = place.ask("2", age=numbers(more, edges=[0, 10, 20, 30]))
    assert found["age"]["histogram"]["counts"] == [0, 39, 30]


def test_rare_categories_are_not_named_and_not_counted(place):
    found, refused = place.ask(town=groups({"Berlin": 40, "Bonn": 30, "Kleinhausen": 1}, others=2))
    assert found["town"]["categories"] == {"Berlin": 40}
    assert found["town"]["categories_other"] == 33  # of Bonn, too: 1 and 2 others would be told by subtraction
    assert refused["town", "categories"] == "min_bin: categories with fewer than 5 values are not named"
    assert "Kleinhausen" not in repr(found)


def test_a_guessed_category_is_not_confirmed(place):
    """A job may name the categories that it wants; one that is rare must look like one that is not there."""
    there, _ = place.ask("1", town=groups({"Berlin": 40, "Bonn": 30, "Kleinhausen": 1}))
    place2 = groups({"Berlin": 40, "Bonn": 31, "Kleinhausen": 0})
    assert set(there["town"]["categories"]) == {"Berlin"}
    found, _ = place.ask("2", source="/data/other.csv", town=place2)
    assert "Kleinhausen" not in found["town"]["categories"]


def test_of_two_categories_one_is_not_told_by_the_other(place):
    found, refused = place.ask(sick=groups({"no": 997, "yes": 3}))
    assert "categories" not in found["sick"]
    assert refused["sick", "balance" if "balance" in CONFIG else "categories"].startswith("min_bin: no category has 5")


def test_minimum_and_maximum_are_moved_outwards_by_a_noise_that_averaging_does_not_remove(place):
    values = [*range(30, 70), 17, 93]
    seen = set()
    for run in ("1", "2", "3"):
        found, _ = place.ask(run, age=numbers(values))
        seen.add((found["age"]["min"], found["age"]["max"]))
    ((low, high),) = seen
    assert 17 - 0.3 * 76 <= low <= 17 - 0.1 * 76
    assert 93 + 0.1 * 76 <= high <= 93 + 0.3 * 76 + 1e-3


def test_the_noise_on_ranges_is_another_at_another_site(tmp_path):
    lows = []
    for site in ("site-1", "site-2"):
        (tmp_path / site).mkdir()
        place = Place(tmp_path / site)
        place.write("")
        lows.append(place.ask(age=numbers(AGES))[0]["age"]["min"])
    assert lows[0] != lows[1]


def test_the_noise_on_ranges_lies_evenly_between_its_levels(place):
    shares = []
    for number in range(150):
        found, _ = place.ask(source=f"/data/{number}.csv", age=numbers([*range(11), 100]))
        shares.append(-found["age"]["min"] / 100)
    from scipy import stats

    assert stats.kstest(shares, "uniform", args=(0.1, 0.2)).pvalue > 1e-7


def test_a_range_of_one_value_and_huge_ranges_stay_usable(place):
    huge = {**numbers([0.0] * 20), "min": -1.7e308, "max": 1.7e308}
    found, _ = place.ask(same=numbers([5.0] * 20), zero=numbers([0.0] * 20), huge=huge)
    assert found["same"]["min"] < 5 < found["same"]["max"]
    assert found["zero"]["min"] < 0 < found["zero"]["max"]
    assert np.isfinite([found["huge"]["min"], found["huge"]["max"]]).all()


def test_rounding_never_moves_an_end_of_a_range_inwards(place):
    place.write("range_noise = [0, 0]\nsignificant_digits = 2")
    found, _ = place.ask(age=numbers([*range(30, 60), 10.19, 98.71]))
    assert (found["age"]["min"], found["age"]["max"]) == (10.0, 99.0)


def test_counts_are_rounded_where_the_policy_says_so(place):
    place.write("round_counts_to = 5\nmax_bins_percent = 100")
    found, _ = place.ask(age=numbers(AGES, edges=EDGES, missing=3), sex=groups({"f": 32, "m": 29}))
    assert (found["age"]["count"], found["age"]["missing"]) == (60, 5)
    assert found["age"]["histogram"]["counts"] == [0, 20, 30, 10, 0]
    assert found["sex"]["categories"] == {"f": 30, "m": 30}
    assert place.policy().shown_ranks([3, 8, 59]) == [5, 10, 60]


def test_hashes_of_values_leave_only_where_the_policy_says_so(place):
    hashes = {"size": 4096, "hashes": np.arange(3, dtype=np.uint64)}
    found, refused = place.ask(town={**groups({"a": 30}), "distinct": hashes})
    assert "distinct" not in found["town"]
    assert refused["town", "distinct"] == "distinct_hashes"
    place.write("distinct_hashes = true")
    found, _ = place.ask(town={**groups({"a": 30}), "distinct": hashes})
    assert found["town"]["distinct"] is hashes


def test_quantiles_near_the_ends_of_a_generators_own_are_single_records(place):
    own = {0.0: 17.0, 0.05: 18.0, 0.5: 40.123456789, 1.0: 93.0}
    found, refused = place.ask(age={**numbers(AGES), "quantile": {"own": own}})
    assert found["age"]["quantile"] == {"own": {0.5: 40.1235}}
    assert refused["age", "quantile"] == "min_count: fewer than 10 values lie beyond the quantile"


def test_questions_about_a_source_are_counted_and_limited(place):
    place.write("max_queries = 2")
    answered = []
    for number, run in enumerate(("1", "1", "2", "2", "3", "1")):
        found, refused = place.ask(run, age=numbers(AGES))
        answered.append("age" in found)
        if number == 4:
            rule = "max_queries: 2 questions about this source were answered, and no more are allowed"
            assert refused["age", "mean"] == rule
    assert answered == [True, True, True, True, False, True]  # a run that asks again, after a restart, is not counted
    assert "age" in place.ask("3", source="/data/other.csv", age=numbers(AGES))[0]


def matrix(rows: np.ndarray, features: list[str]) -> dict:
    """Co-moments over the records that have both values."""
    width = rows.shape[1]
    found = {name: np.zeros((width, width)) for name in ("count", "mean_high", "mean_low", "squares", "products")}
    for i, j in itertools.product(range(width), repeat=2):
        both = rows[~np.isnan(rows[:, i]) & ~np.isnan(rows[:, j])]
        found["count"][i, j] = len(both)
        if len(both):
            found["mean_high"][i, j] = both[:, i].mean()
            apart = both - both.mean(axis=0)
            found["squares"][i, j] = (apart[:, i] ** 2).sum()
            found["products"][i, j] = (apart[:, i] * apart[:, j]).sum()
    return {"features": features, **found, "count": found["count"].astype(np.int64)}


def ask_matrix(place, rows, features):
    answer = summary(**{name: numbers(each[~np.isnan(each)]) for name, each in zip(features, rows.T, strict=True)})
    answer["matrices"] = {"train": matrix(rows, features)}
    config = {"correlation": {"*": {}}, "covariance": {"*": {}}}
    found = place.policy().apply(answer, config=config)
    return found["matrices"].get("train"), [row[1:] for row in found["refused"]]


def test_a_matrix_of_hardly_more_records_than_features_is_refused(place):
    rows = np.random.default_rng(0).normal(size=(12, 3))
    found, refused = ask_matrix(place, rows, ["a", "b", "c"])
    assert found is None
    assert ["a", "correlation", "min_count: fewer values than 10 more than features"] in refused
    found, _ = ask_matrix(place, np.random.default_rng(0).normal(size=(40, 3)), ["x", "y", "z"])
    assert found["count"].tolist() == [[40] * 3] * 3


def test_a_pair_is_left_out_where_the_difference_to_a_single_column_tells_few_records(place):
    rows = np.random.default_rng(0).normal(size=(60, 3))
    rows[0, 1] = np.nan  # one record has a, but not b
    rows[:20, 2] = np.nan
    found, refused = ask_matrix(place, rows, ["a", "b", "c"])
    assert found["count"].tolist() == [[60, 0, 40], [0, 59, 40], [40, 40, 40]]
    assert found["products"][0, 1] == found["squares"][1, 0] == 0
    assert ["a, b", "correlation", "min_difference: fewer than 10 records have only one of them"] in refused


def test_a_matrix_is_not_answered_again_after_a_few_records_changed(place):
    rows = np.random.default_rng(0).normal(size=(60, 3))
    assert ask_matrix(place, rows, ["a", "b", "c"])[0] is not None
    assert ask_matrix(place, rows[::-1], ["a", "b", "c"])[0] is not None  # the same records in another order
    changed = rows.copy()
    changed[0] = 0.5
    found, refused = ask_matrix(place, changed, ["a", "b", "c"])
    assert found is None
    assert refused[0][:2] == ["a", "correlation"]
    assert refused[0][2].startswith("min_difference: fewer than 10 values")


def test_another_order_of_the_rows_is_not_taken_for_a_change(place):
    values = np.random.default_rng(0).normal(0, 1, 500)
    values -= values.mean()  # so that nothing but rounding is left of the mean
    for run in range(5):
        shuffled = np.random.default_rng(run).permutation(values)
        assert place.ask(str(run), x=numbers(shuffled))[0]


def test_a_matrix_does_not_tell_a_forbidden_mean(place):
    place.write('[features.a]\nforbidden_statistics = ["mean"]')
    found, refused = ask_matrix(place, np.random.default_rng(0).normal(size=(60, 3)), ["a", "b", "c"])
    assert found["features"] == ["b", "c"]
    assert found["count"].shape == (2, 2)
    assert ["a", "correlation", "features.a.forbidden_statistics: correlation and the count tell mean"] in refused or [
        row for row in refused if row[0] == "a" and row[1] == "correlation"
    ]


@given(st.lists(st.integers(0, 30), min_size=1, max_size=12), st.integers(0, 12), st.integers(2, 9))
def test_no_hidden_count_follows_from_the_total(counts, beyond, least):
    total = sum(counts) + beyond
    shown = shown_counts(counts, total, least)
    assert all(each == 0 or (each == count >= least) for each, count in zip(shown, counts, strict=True))
    hidden = total - sum(shown)
    assert hidden == 0 or hidden >= least or not any(shown)


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 30), max_size=8), st.integers(0, 9), st.integers(2, 9))
def test_no_rare_category_follows_from_the_others(counts, others, least):
    named, rest = shown_categories(counts, others, least)
    assert all(counts[value] == count >= least for value, count in named.items())
    assert rest == sum(counts.values()) + others - sum(named.values())
    assert rest == 0 or rest >= least or not named


def derivable(binnings: list[Binning]) -> set[int]:
    """Numbers of values that follow from histograms: of one interval or two together, by linear algebra."""
    places = sorted({edge for each in binnings for edge in each.edges})
    cells = list(itertools.pairwise([-np.inf, *places, np.inf]))
    rows, values = [[1.0] * len(cells)], [float(binnings[0].total)]
    for each in binnings:
        for (low, high), count in zip(itertools.pairwise(each.edges), each.shown, strict=True):
            if count:
                rows.append([float(low <= left and right <= high) for left, right in cells])
                values.append(float(count))
    ends = range(len(cells) + 1)
    masks = [[(a, b)] for a, b in itertools.combinations(ends, 2)]
    masks += [[(a, b), (c, d)] for a, b, c, d in itertools.combinations(ends, 4)]
    wanted = np.array([[float(any(a <= at < b for a, b in each)) for at in range(len(cells))] for each in masks])
    known = np.array(rows).T
    mixes = wanted @ np.linalg.pinv(known).T
    follows = np.abs(mixes @ known.T - wanted).max(axis=1) < 1e-9
    return {round(float(each)) for each in mixes[follows] @ np.array(values)}


@given(st.data())
@settings(deadline=None, max_examples=150)
def test_no_small_interval_follows_from_several_histograms(data):
    """Nor from all that linear algebra finds: neither one interval nor two together have a small known count."""
    least = 5
    values = np.array(data.draw(st.lists(st.integers(0, 19), min_size=20, max_size=80)), float) + 0.5
    former: list[Binning] = []
    for _ in range(data.draw(st.integers(1, 3))):
        edges = sorted(data.draw(st.sets(st.integers(0, 20), min_size=2, max_size=6)))
        counts = np.histogram(values, edges)[0].tolist()
        new = Binning([float(each) for each in edges], counts, shown_counts(counts, len(values), least), len(values))
        shown = shown_beside(new, former, least)
        if any(shown):
            former.append(Binning(new.edges, counts, shown, len(values)))
    if former:
        assert not derivable(former) & set(range(1, least))

"""Differential privacy: noise as documented, of all statistics, and what is refused because it could have none.

Noise is compared with its documented distribution over 10,000 draws. It is of integers, so each draw is first spread
evenly over its own step of the distribution: then it is uniform if, and only if, it has that distribution.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from exact_answers import Place, groups, histogram, numbers
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from flare_stats.algebra import Moments
from flare_stats.privacy import PolicyError, Rules
from flare_stats.privacy.differential import STEPS, Wanted, monotone_ranks, release, wanted_releases
from flare_stats.privacy.mechanisms import noise_scale, noisy
from flare_stats.privacy.rules import FeatureRules, Privacy

DRAWS = 10_000
RARE = 1e-7  # the share of runs in which a test of a distribution fails by chance
LAPLACE = Privacy("laplace", epsilon=0.5, total_epsilon=10)
GAUSSIAN = Privacy("gaussian", epsilon=0.5, total_epsilon=10, delta=1e-6, total_delta=1e-4)


def spread(noise: np.ndarray, cumulative, seed: int) -> np.ndarray:
    """Spread integers evenly over their steps of a cumulative distribution of integers."""
    share = np.random.default_rng(seed).uniform(size=len(noise))
    below, at = cumulative(noise - 1), cumulative(noise)
    return below + share * (at - below)


def laplace(scale: float):
    """P(noise <= k) of integer Laplace noise: P(k) is proportional to exp(-|k| / scale)."""
    return lambda k: stats.dlaplace.cdf(k, 1 / scale)


def gaussian(scale: float):
    """P(noise <= k) of integer Gaussian noise: P(k) is proportional to exp(-k**2 / (2 scale**2))."""
    reach = math.ceil(12 * scale) + 1
    ks = np.arange(-reach, reach + 1)
    sums = np.cumsum(np.exp(-(ks**2) / (2 * scale**2)))
    return lambda k: np.where(k < -reach, 0.0, sums[np.clip(k + reach, 0, 2 * reach)] / sums[-1])


def fits(noise, cumulative, seed=0) -> float:
    return float(stats.kstest(spread(np.asarray(noise), cumulative, seed), "uniform").pvalue)


@pytest.mark.parametrize("value", [0, 7, 10**12])
@pytest.mark.parametrize("people", [1, 5])
@pytest.mark.parametrize("epsilon", [0.1, 0.5, 2.0])
def test_laplace_noise_has_the_documented_scale(value, people, epsilon):
    scale = noise_scale("laplace", people, epsilon, 0.0)
    assert scale == pytest.approx(people / epsilon, rel=1e-6)
    noise = np.array(noisy([value] * DRAWS, "laplace", scale)) - value
    assert fits(noise, laplace(people / epsilon)) > RARE


@pytest.mark.parametrize(("epsilon", "delta"), [(0.5, 1e-6), (2.0, 1e-5)])
def test_gaussian_noise_has_the_documented_deviation_and_privacy(epsilon, delta):
    scale = noise_scale("gaussian", 1.0, epsilon, delta)
    noise = np.array(noisy([7] * DRAWS, "gaussian", scale)) - 7
    assert fits(noise, gaussian(scale)) > RARE
    # The exact condition for continuous noise: Balle and Wang 2018, arXiv:1805.06530, theorem 8.
    near, far = (stats.norm.cdf(sign * 0.5 / scale - epsilon * scale) for sign in (1, -1))
    assert near - math.exp(epsilon) * far <= delta
    assert scale <= math.sqrt(2 * math.log(1.25 / delta)) / epsilon  # no more noise than the textbook's


def test_a_wrong_scale_is_noticed_by_these_tests():
    noise = np.array(noisy([0] * DRAWS, "laplace", 10.0))
    assert fits(noise, laplace(10.0)) > RARE
    assert fits(noise, laplace(13.0)) < RARE
    assert fits(noise, gaussian(math.sqrt(2) * 10)) < RARE


@pytest.mark.parametrize("privacy", [LAPLACE, GAUSSIAN], ids=["laplace", "gaussian"])
@pytest.mark.parametrize("name", ["count", "missing", "histogram", "quantile", "categories"])
def test_counts_are_released_with_the_noise_of_one_record(privacy, name):
    values, scale, epsilon, delta = release(privacy, Wanted(name, [100] * DRAWS))
    assert (epsilon, delta) == (0.5, privacy.delta)
    documented = 1 / 0.5 if privacy is LAPLACE else noise_scale("gaussian", 1.0, 0.5, 1e-6)
    assert scale == pytest.approx(documented, rel=1e-6)
    assert fits(np.array(values) - 100, (laplace if privacy is LAPLACE else gaussian)(documented)) > RARE


@pytest.mark.parametrize("name", ["sum", "squares"])
def test_sums_are_released_with_the_noise_of_one_record_in_their_unit(name):
    values, scale, _, _ = release(LAPLACE, Wanted(name, [5 << 20] * DRAWS))
    unit = 1.01 * 2**20
    assert scale == pytest.approx(unit / 0.5, rel=1e-5)
    assert fits(np.array(values) - (5 << 20), laplace(scale)) > RARE


def test_records_per_person_and_epsilons_by_statistic_scale_the_noise():
    privacy = Privacy("laplace", 0.5, 10, records_per_person=7, epsilons={"histogram": 0.25, "var": 2.0})
    assert release(privacy, Wanted("histogram", [0]))[1:3] == (pytest.approx(28), 0.25)
    assert release(privacy, Wanted("count", [0]))[1:3] == (pytest.approx(14), 0.5)
    assert release(privacy, Wanted("squares", [0]))[1:3] == (pytest.approx(7 * 1.01 * 2**20 / 2, rel=1e-4), 2.0)


POLICY = """
    min_count = 1
    max_bins = 50
    [features.age]
    bounds = [0, 120]
    [features.sex]
    categories = ["f", "m", "x"]
    [differential_privacy]
    mechanism = "{mechanism}"
    epsilon = {epsilon}
    total_epsilon = 1e9
    delta = 1e-6
    total_delta = 0.5
    quantile_cells = 60
"""
AGES = np.random.default_rng(0).normal(50, 15, 5000).clip(0, 120)
EDGES = np.linspace(0, 120, 13).tolist()
CELLS = np.linspace(0, 120, 61)
ASKED = ("count", "missing", "failure_count", "sum", "mean", "var", "stddev", "min", "max", "histogram", "quantile")
CONFIG = {name: {"age": {}} for name in ASKED} | {name: {"sex": {}} for name in ("categories", "top_values", "balance")}


def ask(folder, text: str, **more):
    place = Place(folder)
    place.write(text)
    age = {**numbers(AGES, edges=EDGES, missing=40), "quantile": histogram(AGES, CELLS)}
    sex = groups({"f": 2400, "m": 2500, "Kleinhausen": 1}, others=99)
    return place, place.ask(config=CONFIG, **{"age": age, "sex": sex, **more})


@pytest.mark.parametrize("mechanism", ["laplace", "gaussian"])
def test_all_statistics_are_near_the_true_ones(tmp_path, mechanism):
    place, (found, refused) = ask(tmp_path, POLICY.format(mechanism=mechanism, epsilon=0.5))
    age, sex = found["age"], found["sex"]
    assert age["count"] == pytest.approx(5000, abs=150)
    assert age["missing"] == pytest.approx(40, abs=150)
    assert age["mean"] == pytest.approx(AGES.mean(), abs=2)
    assert age["sum"] == pytest.approx(AGES.sum(), rel=0.05)
    assert age["var"] == pytest.approx(AGES.var(ddof=1), rel=0.2)
    assert age["histogram"]["edges"] == EDGES
    assert age["histogram"]["counts"] == pytest.approx(np.histogram(AGES, EDGES)[0], abs=150)
    assert (age["min"], age["max"]) == (0, 120)
    assert refused["age", "min"] == "differential_privacy: the bound of the policy takes the place of the min"
    assert set(sex["categories"]) == {"f", "m", "x"}
    assert sex["categories"]["f"] == pytest.approx(2400, abs=150)
    assert sex["categories_other"] == pytest.approx(100, abs=150)
    edges, ranks = place.policy().noisy_ranks("train", "age")
    assert (edges[0], edges[-1], len(edges)) == (0, 120, 61)
    assert ranks[0] == 0
    assert np.all(np.diff(ranks) >= 0)
    deviation = (math.sqrt(2) * 2 if mechanism == "laplace" else noise_scale("gaussian", 1, 0.5, 1e-6)) * math.sqrt(60)
    assert age["quantile"] == {"count": ranks[-1], "error": pytest.approx(3 * deviation / ranks[-1])}
    assert np.interp(2500, ranks, edges) == pytest.approx(np.median(AGES), abs=3)


def test_no_exact_number_is_left_in_an_answer(tmp_path):
    """With noise so strong that it is zero once in a million draws."""
    age = {**numbers(AGES, edges=EDGES, missing=41), "quantile": histogram(AGES, CELLS), "mean_low": 1e-17}
    place = Place(tmp_path)
    place.write(POLICY.format(mechanism="laplace", epsilon=1e-6))
    answers = [place.ask(str(run), config=CONFIG, age=age)[0]["age"] for run in range(20)]
    assert any(answers)  # where the noisy count is below 0, nothing is said
    for found in answers:
        assert "mean_low" not in found
        for name in found.keys() - {"min", "max", "failure_count"}:
            assert found[name] != age[name], name
        counts = found.get("histogram", {"counts": []})["counts"]
        assert not {each for each in counts if each} & set(age["histogram"]["counts"])


def test_rows_matrices_and_reasons_do_not_tell_exact_numbers(tmp_path):
    place = Place(tmp_path)
    place.write(POLICY.format(mechanism="laplace", epsilon=0.5))
    answer = {
        "datasets": {"train": {"age": numbers([])}},
        "rows": {"train": 17},
        "matrices": {"train": {"features": ["age"]}},
        "refused": [["train", "age", "mean", "no values"]],
    }
    found = place.policy().apply(answer, config=CONFIG)
    assert (found["rows"], found["matrices"]) == ({}, {})
    assert {row[3].partition(":")[0] for row in found["refused"]} <= {"differential_privacy", "min_count"}


def test_what_can_have_no_noise_is_refused_by_name(tmp_path):
    text = POLICY.format(mechanism="laplace", epsilon=0.5)
    place, (found, refused) = ask(tmp_path, text)
    policy = place.policy()
    assert policy.refusal("weight", "mean") == "differential_privacy: the policy has no features.weight.bounds"
    assert policy.refusal("weight", "quantile") == "differential_privacy: the policy has no features.weight.bounds"
    assert policy.refusal("town", "balance") == "differential_privacy: the policy has no features.town.categories"
    assert policy.refusal("age", "distinct") == "differential_privacy: distinct has no answer with noise"
    assert policy.refusal("age", "correlation") == "differential_privacy: correlation has no answer with noise"
    assert policy.refusal("age", "histogram", 51) == "max_bins: 51 bins, at most 50 are allowed"
    assert policy.refusal("age", "mean") is None
    assert policy.refusal("weight", "count") is None
    assert policy.bounds("age") == (0, 120)
    assert policy.bounds("weight") is None
    assert policy.categories("sex") == ("f", "m", "x")
    found, refused = place.ask("2", config={"mean": {"*": {}}}, weight=numbers(range(50)))
    assert found["weight"] == {}
    assert refused["weight", "mean"] == "differential_privacy: the policy has no features.weight.bounds"


def test_few_values_are_told_by_the_noisy_count_alone(tmp_path):
    place = Place(tmp_path)
    text = POLICY.format(mechanism="laplace", epsilon=2).replace("min_count = 1", "min_count = 30")
    place.write(text)
    found, refused = place.ask(config={"mean": {"age": {}}}, age=numbers(range(5)))
    assert found["age"] == {}
    assert refused["age", "mean"] == "min_count: fewer than 30 values, by the noisy count"


def test_an_average_is_never_beyond_the_bounds_however_much_noise_there_is(tmp_path):
    place = Place(tmp_path)
    place.write(POLICY.format(mechanism="laplace", epsilon=0.001))
    for run in range(30):
        found, _ = place.ask(str(run), config={"mean": {"age": {}}, "var": {"age": {}}}, age=numbers(range(40)))
        if age := found["age"]:  # else the noisy count is below 1
            assert age["count"] >= 1
            assert 0 <= age["mean"] <= 120
            assert 0 <= age.get("var", 0) <= 60**2 * 2


def test_the_noise_of_a_mean_over_many_runs_is_as_documented(tmp_path):
    """Each run pays for noise of its own, of the scale (high - low) / 2 / epsilon on the sum around the middle."""
    place = Place(tmp_path)
    place.write(POLICY.format(mechanism="laplace", epsilon=1.0))
    values = np.full(1_000_000, 60.0)
    exact = {**numbers(values[:10]), "count": len(values), "sum": 6e7, "mean": 60.0, "var": 0.0}
    means = [place.ask(str(run), config={"mean": {"age": {}}}, age=exact)[0]["age"]["mean"] for run in range(150)]
    scale = 60 * 1.01 / 1.0 / len(values)
    assert stats.kstest((np.array(means) - 60) / scale, "laplace").pvalue > RARE


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=40))
def test_noisy_ranks_ascend_and_stay_as_near_as_they_can(cells):
    ranks = monotone_ranks(cells)
    sums = np.cumsum(cells)
    assert np.all(np.diff(ranks) >= 0)
    assert min(ranks) >= 0
    if np.all(np.diff(sums) >= 0) and sums[0] >= 0:
        assert ranks == sums.tolist()
    else:
        direct = np.maximum.accumulate(np.maximum(sums, 0))
        assert ((np.array(ranks) - sums) ** 2).sum() <= ((direct - sums) ** 2).sum() + len(cells)


def released(values: np.ndarray, bounds: tuple[float, float]) -> dict[str, list[int]]:
    """The numbers, before noise, of a column that a site has read."""
    rules = Rules(features={"x": FeatureRules(bounds=bounds)}, privacy=LAPLACE)
    moments = Moments()
    for part in np.array_split(np.clip(values, *bounds), 3):
        moments.add(part)
    exact = {"count": moments.count, "mean": moments.mean_high, "mean_low": moments.mean_low}
    if moments.count > 1:
        exact["var"] = moments.variance()
    made = wanted_releases(rules, "x", exact, ["mean", "var"])
    return {name: list(each.values) for name, each in made.items()}


SENSITIVITY = {"count": 1, "sum": math.ceil(1.01 * STEPS), "squares": math.ceil(1.01 * STEPS)}


@given(
    st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=40),
    st.integers(0, 39),
    st.floats(-1e6, 1e6),
    st.floats(1e-3, 1e6),
)
def test_a_record_moves_each_release_by_no_more_than_the_noise_is_made_for(values, which, middle, half):
    if abs(middle) + half > 1e4 * half:  # such bounds are refused
        middle = 0.0
    bounds = (middle - half, middle + half)
    array = np.array(values)
    with_it, without = released(array, bounds), released(np.delete(array, which % len(array)), bounds)
    for name, most in SENSITIVITY.items():
        assert abs(with_it[name][0] - without[name][0]) <= most, name


def test_the_rounding_of_large_sums_is_covered_by_the_noise():
    """The worst that the policy allows: bounds far from 0, and many values."""
    bounds = (9_999.0, 10_001.0)
    values = np.random.default_rng(0).uniform(*bounds, 400_000)
    values[0] = bounds[1]
    with_it, without = released(values, bounds), released(values[1:], bounds)
    for name, most in SENSITIVITY.items():
        assert abs(with_it[name][0] - without[name][0]) <= most, name
    exact = sum(map(Fraction, ((values - 10_000.0) * STEPS).tolist()))
    assert abs(with_it["sum"][0] - exact) <= 0.001 * STEPS


def test_a_policy_that_needs_opendp_says_so_where_it_is_missing(tmp_path):
    import subprocess
    import sys

    (tmp_path / "privacy.toml").write_text(POLICY.format(mechanism="laplace", epsilon=1))
    code = (
        "import sys; sys.modules['opendp'] = None\n"
        "from pathlib import Path\n"
        "from flare_stats.privacy import Policy\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "Policy.open(folder, run='1', folder=folder, sources={})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "differential privacy, which needs OpenDP: pip install 'flare-stats[dp]'" in done.stderr


def test_bounds_far_from_zero_are_refused_since_float64_could_not_hold_the_noise(tmp_path):
    (tmp_path / "privacy.toml").write_text("[features.t]\nbounds = [1e9, 1.0001e9]")
    with pytest.raises(PolicyError, match="subtract an offset from the data"):
        Rules.read(tmp_path / "privacy.toml")

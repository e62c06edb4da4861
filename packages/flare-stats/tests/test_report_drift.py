"""Drift is measured by published formulas: against scipy, and where they have closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from flare_stats.report import drift
from flare_stats.report.data import BinnedCounts

EDGES = np.linspace(-6, 6.5, 2001)


def normal(mean: float, count: float = 1e12) -> BinnedCounts:
    """The exact histogram of a normal distribution."""
    return BinnedCounts(EDGES, count * np.diff(stats.norm.cdf(EDGES, loc=mean)))


def sampled(values: np.ndarray, edges: np.ndarray = EDGES) -> BinnedCounts:
    return BinnedCounts(edges, np.histogram(values, edges)[0].astype(float))


@pytest.mark.parametrize("shift", [0.1, 0.32, 0.5, 1.0])
def test_index_of_two_normal_distributions_is_the_square_of_their_shift(shift):
    found = drift.population_stability_index(normal(0).counts, normal(shift).counts)
    assert found == pytest.approx(shift**2, rel=1e-3)


@pytest.mark.parametrize("shift", [0.1, 0.25, 0.5, 1.0])
def test_distance_of_two_normal_distributions_has_its_closed_form(shift):
    found = drift.kolmogorov_smirnov(normal(0).counts, normal(shift).counts)
    assert found == pytest.approx(2 * stats.norm.cdf(shift / 2) - 1, abs=2e-3)


def test_index_is_symmetric_and_zero_only_for_the_same_shares():
    a, b = np.array([10.0, 20.0, 70.0]), np.array([40.0, 30.0, 30.0])
    assert drift.population_stability_index(a, b) == pytest.approx(drift.population_stability_index(b, a))
    assert drift.population_stability_index(a, a) == 0
    assert drift.population_stability_index(a, b) > 0


def test_index_is_finite_where_a_group_is_empty():
    assert math.isfinite(drift.population_stability_index(np.array([0.0, 50.0]), np.array([50.0, 0.0])))


def test_index_is_the_sum_of_both_relative_entropies():
    a, b = np.array([3e9, 5e9, 2e9]), np.array([1e9, 4e9, 5e9])
    assert drift.population_stability_index(a, b) == pytest.approx(stats.entropy(a, b) + stats.entropy(b, a), rel=1e-6)


def test_distance_of_whole_numbers_is_that_of_scipy():
    rng = np.random.default_rng(3)
    a, b = rng.poisson(4, 300), rng.poisson(5, 120)
    edges = np.arange(-0.5, 30)
    found = drift.kolmogorov_smirnov(sampled(a, edges).counts, sampled(b, edges).counts)
    assert found == pytest.approx(stats.ks_2samp(a, b).statistic)


def test_distance_in_bins_is_at_most_that_of_the_values():
    rng = np.random.default_rng(4)
    a, b = rng.normal(0, 1, 200), rng.normal(0.3, 1, 300)
    edges = np.linspace(-5, 5, 21)
    found = drift.kolmogorov_smirnov(sampled(a, edges).counts, sampled(b, edges).counts)
    assert 0 < found <= stats.ks_2samp(a, b).statistic + 1e-12


@pytest.mark.parametrize("degrees", range(1, 12))
@pytest.mark.parametrize("x", [0.01, 0.5, 3.0, 20.0, 60.0])
def test_tail_of_chi_square_is_that_of_scipy(degrees, x):
    assert drift.chi_square_tail(x, degrees) == pytest.approx(stats.chi2.sf(x, degrees), rel=1e-9)


@pytest.mark.parametrize("x", [0.0, 0.1, 0.2, 0.4, 0.8, 1.36, 2.0, 4.0])
def test_tail_of_kolmogorov_is_that_of_scipy(x):
    assert drift.kolmogorov_tail(x) == pytest.approx(stats.kstwobign.sf(x), rel=1e-9, abs=1e-12)


def test_index_without_drift_follows_its_distribution():
    """10,000 pairs of samples of one distribution: the probabilities are uniform, as far as whole counts can be."""
    rng = np.random.default_rng(5)
    n, m = 500, 2000
    own, others = (rng.multinomial(size, [0.1] * 10, 10_000).astype(float) for size in (n, m))
    indices = [drift.population_stability_index(a, b) for a, b in zip(own, others, strict=True)]
    chances = [drift.chi_square_tail(index / (1 / n + 1 / m), 9) for index in indices]
    assert stats.kstest(chances, "uniform").statistic < 0.02


def test_histograms_of_different_bins_are_compared_on_common_ones():
    wide, narrow = (
        BinnedCounts(np.array([0.0, 2.0, 4.0]), np.array([10.0, 6.0])),
        BinnedCounts(np.array([1.0, 2.0, 3.0]), np.array([4.0, 8.0])),
    )
    edges, counts = drift.common_bins([wide, narrow])
    assert edges.tolist() == [0, 1, 2, 3, 4]
    assert counts.tolist() == [[5, 5, 3, 3], [0, 4, 8, 0]]


def test_a_shifted_site_is_marked_and_the_others_are_not():
    rng = np.random.default_rng(6)
    values = {f"site-{i}": rng.normal(0, 1, 1000) for i in range(1, 6)}
    values["site-6"] = rng.normal(0.8, 1, 1000)
    found = drift.compare_histograms({site: sampled(each, np.linspace(-5, 6, 41)) for site, each in values.items()})
    assert found["site-6"].degree() == drift.DRIFT
    assert [found[f"site-{i}"].degree() for i in range(1, 6)] == [drift.NONE] * 5


def test_a_small_site_is_not_marked_for_what_chance_does():
    """20 values often have an index above 0.25 without any drift; of 1,000 such sites hardly one is marked."""
    rng = np.random.default_rng(7)
    edges = np.linspace(-5, 5, 21)
    others = sampled(rng.normal(0, 1, 20_000), edges)
    found = [
        drift.compare_histograms({"small": sampled(rng.normal(0, 1, 20), edges), "others": others})["small"]
        for _ in range(1000)
    ]
    assert sum(each.psi > drift.PSI_DRIFT for each in found) > 300
    assert sum(each.degree(0.01 / 1000) != drift.NONE for each in found) <= 1


def test_categories_are_compared_whatever_their_order():
    one, same, other = {"a": 900, "b": 100}, {"b": 110, "a": 890}, {"a": 400, "b": 500, "c": 100}
    found = drift.compare_categories({"one": one, "same": same, "other": other})
    assert found["other"].degree() == drift.DRIFT
    assert found["other"].ks is None
    alike = drift.compare_categories({"one": one, "same": same})
    assert alike["one"].degree() == drift.NONE


def test_a_value_that_nearly_all_sites_share_is_no_drift():
    edges = np.linspace(0, 1, 21)
    constant = BinnedCounts(edges, np.array([100.0] + [0.0] * 19))
    found = drift.compare_histograms({"a": constant, "b": constant})
    assert found["a"].psi == 0
    assert found["a"].degree() == drift.NONE


def test_nothing_is_compared_where_one_site_alone_has_a_histogram():
    assert drift.compare_histograms({"a": normal(0)}) == {}
    assert drift.compare_categories({"a": {"x": 3}, "b": {}}) == {}


def test_categories_that_a_place_does_not_name_are_compared_as_one_group():
    """One place names all its categories, the other only its most frequent one: the same shares are no drift."""
    found = drift.compare_categories({"one": {"a": 600, "b": 300, "c": 100}, "other": {"a": 600, None: 400}})
    assert found["one"].psi == pytest.approx(0, abs=1e-9)
    moved = drift.compare_categories({"one": {"a": 600, "b": 300, "c": 100}, "other": {"a": 300, None: 700}})
    assert moved["one"].degree() == drift.DRIFT


def test_one_site_with_other_units_does_not_make_all_sites_look_different():
    rng = np.random.default_rng(8)
    values = {f"site-{i}": rng.normal(75, 12, 500) for i in range(1, 9)}
    values["pounds"] = rng.normal(165, 26, 600)
    found = drift.compare_histograms({site: sampled(each, np.linspace(0, 300, 31)) for site, each in values.items()})
    assert [site for site, each in found.items() if each.degree() != drift.NONE] == ["pounds"]


def test_of_two_sites_that_differ_both_are_marked():
    found = drift.compare_histograms({"a": normal(0, 1000), "b": normal(1, 1000)})
    assert [each.degree() for each in found.values()] == [drift.DRIFT, drift.DRIFT]

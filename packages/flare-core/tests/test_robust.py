"""Robust aggregators: against their definitions, and with a fifth of the sites wrong."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from flare_core import EmptyRoundError, FLModel, ModelError, RecipeError, Reply, ShapeMismatchError, WeightedMean
from flare_core.robust import CoordinateMedian, Krum, TrimmedMean

FINITE = st.floats(-1e6, 1e6)


def combined(aggregator, contributions, **model):
    aggregator.reset()
    for number, params in enumerate(contributions, 1):
        aggregator.add(Reply(f"site-{number}", "train", FLModel(params=params, **model)))
    return aggregator.result().params


@given(arrays.arrays(np.float64, (5, 7), elements=FINITE))
def test_the_median_is_numpys(values):
    assert np.array_equal(combined(CoordinateMedian(), [{"w": row} for row in values])["w"], np.median(values, axis=0))


@given(arrays.arrays(np.float64, (6, 4), elements=FINITE))
def test_the_trimmed_mean_leaves_out_both_ends(values):
    expected = np.sort(values, axis=0)[1:5].mean(axis=0)
    assert np.allclose(combined(TrimmedMean(0.2), [{"w": row} for row in values])["w"], expected)
    assert np.allclose(combined(TrimmedMean(0.0), [{"w": row} for row in values])["w"], values.mean(axis=0))


@given(arrays.arrays(np.float64, (7, 3), elements=FINITE))
def test_krum_chooses_by_its_definition(values):
    scores = []
    for row in values:
        distances = np.sort(((values - row) ** 2).sum(axis=1))[1:]  # without that to itself
        scores.append(distances[: 7 - 2 - 2].sum())
    chosen = combined(Krum(attackers=2), [{"a": row[:1], "b": row[1:]} for row in values])
    score = scores[next(i for i, row in enumerate(values) if np.array_equal(np.r_[chosen["a"], chosen["b"]], row))]
    assert score == pytest.approx(min(scores), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("attack", [1e6, -1e30, np.nan, np.inf])
@pytest.mark.parametrize("aggregator", [CoordinateMedian(), TrimmedMean(0.2), Krum(2), Krum(2, keep=5)])
def test_a_fifth_of_the_sites_cannot_carry_the_model_away(aggregator, attack):
    generator = np.random.default_rng(0)
    honest = [{"w": generator.normal(1.0, 0.1, 50).astype(np.float32)} for _ in range(8)]
    wrong = [{"w": np.full(50, attack, np.float32)} for _ in range(2)]
    result = combined(aggregator, [*honest[:3], *wrong, *honest[3:]])["w"]
    assert result.dtype == np.float32
    assert np.abs(result - 1.0).max() < 0.5
    with np.errstate(all="ignore"):
        mean = np.mean([each["w"] for each in [*honest, *wrong]], axis=0)
    assert not np.abs(mean - 1.0).max() < 0.5  # which the plain mean does not stand


def test_counters_stay_integers_and_differences_stay_real():
    sites = [{"n": np.array(number)} for number in (1, 2, 4, 100)]
    result = combined(CoordinateMedian(), sites)["n"]
    assert (result, result.dtype, result.shape) == (3, np.int64, ())
    assert combined(TrimmedMean(0.25), [{"n": np.array(each)} for each in (0, 1, 2, 9)], params_type="DIFF")["n"] == 1.5


def test_each_key_is_combined_over_the_sites_that_sent_it():
    result = combined(CoordinateMedian(), [{"a": np.ones(1)}, {"a": np.full(1, 3.0), "b": np.ones(2)}])
    assert (result["a"].tolist(), result["b"].tolist()) == ([2.0], [1.0, 1.0])


def test_what_cannot_be_combined_is_refused():
    with pytest.raises(ShapeMismatchError, match=r"'w': site-2 sent shape \(2,\), site-1 sent \(3,\)"):
        combined(CoordinateMedian(), [{"w": np.ones(3)}, {"w": np.ones(2)}])
    with pytest.raises(EmptyRoundError, match="needs 5 sites in a round, 4 answered"):
        combined(Krum(1), [{"w": np.ones(1)}] * 4)
    with pytest.raises(EmptyRoundError, match="keeps 5 of 5 sites"):
        combined(Krum(1, keep=5), [{"w": np.ones(1)}] * 5)
    with pytest.raises(ModelError, match="not all sites sent 'b'"):
        combined(Krum(0), [{"a": np.ones(1)}, {"a": np.ones(1)}, {"a": np.ones(1), "b": np.ones(1)}])
    with pytest.raises(EmptyRoundError, match="no site contributed"):
        CoordinateMedian().result()
    for make in (lambda: TrimmedMean(0.5), lambda: TrimmedMean(-0.1), lambda: Krum(-1), lambda: Krum(1, keep=0)):
        with pytest.raises(RecipeError):
            make()


def test_without_attackers_keeping_all_is_the_mean():
    sites = [{"w": np.array([float(number)])} for number in range(5)]
    assert combined(Krum(0, keep=5), sites)["w"] == combined(WeightedMean(), sites)["w"] == 2.0

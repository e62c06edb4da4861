"""Robust aggregators: their definitions, and results with a fifth of the sites wrong."""

from __future__ import annotations

import re

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from flare_core import (
    DtypeMismatchError,
    EmptyRoundError,
    FlareError,
    FLModel,
    ModelError,
    ParamsType,
    RecipeError,
    Reply,
    ShapeMismatchError,
    WeightedMean,
)
from flare_core.model import flatten
from flare_core.robust import CoordinateMedian, Krum, TrimmedMean
from flare_core.tensor_blocks import LazyParams

FINITE = st.floats(-1e6, 1e6)


def combined(aggregator, contributions, **model):
    aggregator.reset()
    for number, params in enumerate(contributions, 1):
        aggregator.add(Reply(f"site-{number}", "train", FLModel(params=params, **model)))
    return aggregator.result().params


@given(arrays.arrays(np.float64, (5, 7), elements=FINITE))
def test_the_median_is_numpys(values):
    assert np.array_equal(combined(CoordinateMedian(), [{"w": row} for row in values])["w"], np.median(values, axis=0))


def test_nested_params_are_combined_and_come_back_nested():
    sites = [{"body": {"w": np.full(2, float(n))}, "head": np.full(1, 10.0 * n)} for n in (1, 2, 9)]
    found = combined(CoordinateMedian(), sites)
    assert found["body"]["w"].tolist() == [2.0, 2.0]
    assert found["head"].tolist() == [20.0]


@given(arrays.arrays(np.float64, (6, 4), elements=FINITE))
def test_the_trimmed_mean_trims_both_ends(values):
    expected = np.sort(values, axis=0)[1:5].mean(axis=0)
    assert np.allclose(combined(TrimmedMean(0.2), [{"w": row} for row in values])["w"], expected)
    assert np.allclose(combined(TrimmedMean(0.0), [{"w": row} for row in values])["w"], values.mean(axis=0))


@given(arrays.arrays(np.float64, (7, 3), elements=FINITE))
def test_krum_chooses_by_its_definition(values):
    scores = []
    for row in values:
        distances = np.sort(((values - row) ** 2).sum(axis=1))[1:]  # without the distance to itself
        scores.append(distances[: 7 - 2 - 2].sum())
    chosen = combined(Krum(attackers=2), [{"a": row[:1], "b": row[1:]} for row in values])
    score = scores[next(i for i, row in enumerate(values) if np.array_equal(np.r_[chosen["a"], chosen["b"]], row))]
    assert score == pytest.approx(min(scores), rel=1e-9, abs=1e-9)


def test_the_update_is_the_global_model_with_the_result_applied():
    aggregator = CoordinateMedian()
    for params_type, expected in ((ParamsType.FULL, 2.0), (ParamsType.DIFF, 7.0)):
        combined(aggregator, [{"w": np.full(2, float(n))} for n in (1, 2, 9)], params_type=params_type)
        model = aggregator.update(FLModel(params={"w": np.full(2, 5.0), "other": np.zeros(1)}))
        assert model.params["w"].tolist() == [expected] * 2
        assert model.params["other"].tolist() == [0.0]


@pytest.mark.parametrize("attack", [1e6, -1e30, np.nan, np.inf])
@pytest.mark.parametrize("aggregator", [CoordinateMedian(), TrimmedMean(0.2), Krum(2), Krum(2, keep=5)])
def test_a_fifth_of_the_sites_cannot_control_the_result(aggregator, attack):
    generator = np.random.default_rng(0)
    honest = [{"w": generator.normal(1.0, 0.1, 50).astype(np.float32)} for _ in range(8)]
    wrong = [{"w": np.full(50, attack, np.float32)} for _ in range(2)]
    result = combined(aggregator, [*honest[:3], *wrong, *honest[3:]])["w"]
    assert result.dtype == np.float32
    assert np.abs(result - 1.0).max() < 0.5
    with np.errstate(all="ignore"):
        mean = np.mean([each["w"] for each in [*honest, *wrong]], axis=0)
    assert not np.abs(mean - 1.0).max() < 0.5  # the plain mean is not robust


def test_counters_stay_integers_and_differences_stay_real():
    sites = [{"n": np.array(number)} for number in (1, 2, 4, 100)]
    result = combined(CoordinateMedian(), sites)["n"]
    assert (result, result.dtype, result.shape) == (3, np.int64, ())
    assert combined(TrimmedMean(0.25), [{"n": np.array(each)} for each in (0, 1, 2, 9)], params_type="DIFF")["n"] == 1.5


def test_each_key_is_combined_over_the_sites_that_sent_it():
    result = combined(CoordinateMedian(), [{"a": np.ones(1)}, {"a": np.full(1, 3.0), "b": np.ones(2)}])
    assert (result["a"].tolist(), result["b"].tolist()) == ([2.0], [1.0, 1.0])


def test_contributions_that_cannot_be_combined_are_rejected():
    with pytest.raises(ShapeMismatchError, match=r"'w': site-2 sent shape \(2,\), site-1 sent \(3,\)"):
        combined(CoordinateMedian(), [{"w": np.ones(3)}, {"w": np.ones(2)}])
    with pytest.raises(EmptyRoundError, match="needs 5 sites in a round, but 4 replied"):
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


class Fetched(LazyParams):
    """Params that are prefetched in order; counts the tensors that are read out of order."""

    out_of_turn = 0

    def __init__(self, **params):
        self._params = params

    def tensor_keys(self):
        return [key for key, _ in flatten(self._params)]

    def arrays(self):
        return flatten(self._params)

    def __iter__(self):
        return iter(self._params)

    def __len__(self):
        return len(self._params)

    def __getitem__(self, name):
        self.out_of_turn += 1
        return self._params[name]


def test_tensors_are_read_in_the_order_in_which_they_were_sent():
    first = Fetched(a=np.array([1.0]), b={"w": np.array([2.0])}, c=np.array([3.0]))
    second = Fetched(a=np.array([3.0]), c=np.array([5.0]))
    result = combined(CoordinateMedian(), [first, second])
    assert {key: value.item() for key, value in flatten(result)} == {"a": 2.0, ("b", "w"): 2.0, "c": 4.0}
    assert (first.out_of_turn, second.out_of_turn) == (0, 0)


def test_another_order_is_read_by_key():
    first = Fetched(a=np.array([1.0]), b=np.array([2.0]))
    second = Fetched(b=np.array([4.0]), a=np.array([3.0]))
    result = combined(CoordinateMedian(), [first, second])
    assert (result["a"].item(), result["b"].item()) == (2.0, 3.0)


def test_krum_fetches_only_the_chosen_contributions_twice():
    class Counted(Fetched):
        times = 0

        def arrays(self):
            self.times += 1
            return super().arrays()

    sites = [Counted(w=np.array([value])) for value in (5.0, 1.0, 1.25, 1.5, 9.0)]
    assert combined(Krum(1, keep=2), sites)["w"].item() == (1.0 + 1.25) / 2
    assert [site.times for site in sites] == [1, 2, 2, 1, 1]


def scores_of(values, attackers):
    """Blanchard et al., section 4, with loops."""
    for index, row in enumerate(values):
        distances = sorted(sum((row - other) ** 2) for at, other in enumerate(values) if at != index)
        yield sum(distances[: len(values) - attackers - 2])


@pytest.mark.parametrize(("attackers", "keep"), [(1, 1), (1, 2), (1, 6), (2, 1), (2, 3), (0, 4)])
def test_multi_krum_is_the_mean_of_the_lowest_scores(attackers, keep):
    values = np.random.default_rng(attackers + keep).normal(size=(7, 3)) * np.arange(1, 8)[:, None]
    scores = [*scores_of(values, attackers)]
    best = sorted(range(7), key=scores.__getitem__)[:keep]
    result = combined(Krum(attackers, keep), [{"a": row[:1], "b": row[1:].reshape(2, 1)} for row in values])
    np.testing.assert_allclose(np.r_[result["a"], result["b"].ravel()], values[best].mean(axis=0), rtol=1e-12)


def test_krum_chooses_the_first_site_of_equal_scores():
    assert combined(Krum(0), [{"w": np.array([value])} for value in (1.0, -1.0, 0.0)])["w"].item() == 1.0
    assert combined(Krum(0), [{"w": np.array([value])} for value in (1.0, 1.0, 5.0, 5.0)])["w"].item() == 1.0


def test_krum_defaults_to_one_attacker_and_keeps_one_contribution():
    assert combined(Krum(), [{"w": np.array([value])} for value in (0.0, 3.0, 4.0, 4.5, 99.0)])["w"].item() == 4.0
    with pytest.raises(
        EmptyRoundError, match=r"Krum with 1 attackers needs 5 sites .*, but 4 replied \(site-1, site-2"
    ):
        combined(Krum(), [{"w": np.ones(1)}] * 4)
    with pytest.raises(EmptyRoundError, match="no site contributed"):
        Krum().result()


def test_far_values_are_compared_in_double_precision():
    sites = [{"w": np.array([value], np.float32)} for value in (1e20, 2e20, 2.5e20, 9e20, -1e20)]
    assert combined(Krum(1), sites)["w"].item() == np.float32(2e20)


def test_the_next_round_determines_its_own_dtypes():
    aggregator = CoordinateMedian()
    combined(aggregator, [{"w": np.array([1])}] * 3)
    result = combined(aggregator, [{"w": np.array([1.5])}] * 3)["w"]
    assert (result.dtype, result.item()) == (np.float64, 1.5)


def test_the_result_says_round_and_type():
    aggregator = CoordinateMedian()
    aggregator.add(Reply("a", "train", FLModel(params={"w": np.ones(1)}, params_type="DIFF"), 7))
    result = aggregator.result()
    assert (result.current_round, str(result.params_type)) == (7, "DIFF")
    aggregator.reset()
    aggregator.add(Reply("a", "train", FLModel(params={"w": np.ones(1)})))
    result = aggregator.result()
    assert (result.current_round, str(result.params_type)) == (None, "FULL")


@pytest.mark.parametrize("aggregator", [CoordinateMedian(), TrimmedMean(), Krum(0, keep=3)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16])
def test_floats_keep_dtype_and_shape(aggregator, dtype):
    result = combined(aggregator, [{"w": np.full((2, 3), value, dtype)} for value in (1, 2, 3)])["w"]
    assert (result.dtype, result.shape) == (np.dtype(dtype), (2, 3))
    assert np.all(result.astype(float) == 2)


def test_half_precision_is_averaged_in_single_precision():
    assert combined(TrimmedMean(), [{"w": np.array([60000], np.float16)}] * 4)["w"].tolist() == [60000]


def test_large_counters_are_exact_and_flags_follow_the_majority():
    sites = [{"n": np.array([2**53 - 1]), "flag": np.array([flag])} for flag in (True, False, True)]
    result = combined(CoordinateMedian(), sites)
    assert (result["n"].tolist(), result["flag"].tolist(), result["flag"].dtype) == ([2**53 - 1], [True], bool)


def test_each_robust_mean_averages_differences_of_integers_as_real_numbers():
    result = combined(CoordinateMedian(), [{"n": np.array([each])} for each in (1, 2)], params_type="DIFF")["n"]
    assert (result.dtype, result.tolist()) == (np.float64, [1.5])


def test_the_trimmed_mean_trims_a_fifth_by_default():
    sites = [{"w": np.array([value])} for value in (-100.0, 1.0, 2.0, 6.0, 100.0)]
    assert combined(TrimmedMean(), sites)["w"].item() == 3.0
    assert combined(TrimmedMean(), sites[1:])["w"].item() == (1 + 2 + 6 + 100) / 4


def test_nan_is_larger_than_every_number():
    sites = [{"w": np.array([value])} for value in (1.0, np.nan, 2.0, 3.0, np.nan)]
    assert combined(CoordinateMedian(), sites)["w"].item() == 3.0
    assert combined(TrimmedMean(0.4), sites)["w"].item() == 3.0


def test_robust_aggregators_do_not_change_contributions():
    sent = np.array([np.nan, 3.0, 1.0])
    for aggregator in (CoordinateMedian(), TrimmedMean(), Krum(0)):
        combined(aggregator, [{"w": sent}, {"w": sent[::-1]}, {"w": sent}])
    assert np.array_equal(sent, [np.nan, 3.0, 1.0], equal_nan=True)


def test_errors_for_contributions_that_do_not_match_name_site_and_key():
    aggregator = CoordinateMedian()
    with pytest.raises(ModelError, match="site-1: the reply to 'train' holds no params"):
        aggregator.add(Reply("site-1", "train", FLModel(metrics={"loss": 1.0})))
    aggregator.add(Reply("site-1", "train", FLModel(params={"n": np.ones(1, int)})))
    with pytest.raises(ModelError, match="site-2 sent params_type DIFF, but site-1 sent FULL"):
        aggregator.add(Reply("site-2", "train", FLModel(params={"n": np.ones(1, int)}, params_type="DIFF")))
    aggregator.add(Reply("site-2", "train", FLModel(params={"n": np.ones(1)})))
    with pytest.raises(DtypeMismatchError, match="'n': site-2 sent float64, site-1 int64"):
        aggregator.result()


@pytest.mark.parametrize("fraction", [0.5, -0.1, True, "0.1", None, np.nan])
def test_invalid_fractions_are_rejected(fraction):
    with pytest.raises(RecipeError, match=f"fraction of the trimmed mean is {fraction!r}; give a number from 0"):
        TrimmedMean(fraction)


@pytest.mark.parametrize("value", [-1, True, 1.0, "1"])
def test_invalid_arguments_of_krum_are_rejected(value):
    with pytest.raises(RecipeError, match=f"attackers of Krum is {value!r}; give an integer of at least 0"):
        Krum(value)
    with pytest.raises(RecipeError, match=f"keep of Krum is {value!r}; give an integer of at least 1"):
        Krum(1, value)
    with pytest.raises(RecipeError, match="keep of Krum is 0"):
        Krum(1, 0)
    assert TrimmedMean(0).fraction == 0.0


# A fifth of 5 to 12 sites lies, the first or the last ones, in every way.

AGGREGATORS = {
    "median": lambda wrong: CoordinateMedian(),
    "trimmed mean": lambda wrong: TrimmedMean(0.2),
    "Krum": lambda wrong: Krum(wrong),
    "Multi-Krum": lambda wrong: Krum(wrong, keep=2),
}
LIES = {
    "huge": {"w": np.full(5, 1e30, np.float32)},
    "NaN": {"w": np.full(5, np.nan, np.float32)},
    "too large for the others' dtype": {"w": np.full(5, 1e300)},
    "in a dtype that cannot hold the others' values": {"w": np.ones(5, ml_dtypes.float8_e4m3fn)},
    "under a key that others leave out": {"w": np.full(5, 1000, np.float32), "frozen": np.full(2, 1e9, np.float32)},
    "under a key that the model does not have": {"w": np.full(5, 1000, np.float32), "more": np.ones(2)},
    "without a key": {},
    "in another shape": {"w": np.ones(4, np.float32)},
    "integers": {"w": np.full(5, 7)},
    "text": {"w": np.array(["a"] * 5)},
    "nested": {"w": {"x": np.ones(5, np.float32)}},
}


@pytest.mark.parametrize("are_first", [True, False])
@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("aggregator", AGGREGATORS)
def test_a_fifth_of_lying_sites_has_no_effect_or_is_named(aggregator, lie, are_first):
    generator = np.random.default_rng(0)
    before = {"w": np.zeros(5, np.float32), "frozen": np.zeros(2, np.float32)}
    for count in range(5, 13):
        wrong = count // 5
        sites = [{"w": generator.normal(1000, 0.1, 5).astype(np.float32)} for _ in range(count - wrong)]
        sent = [LIES[lie]] * wrong + sites if are_first else sites + [LIES[lie]] * wrong
        liars = {f"site-{number}" for number, params in enumerate(sent, 1) if params is LIES[lie]}
        made = AGGREGATORS[aggregator](wrong)
        error = None
        try:
            combined(made, sent, meta={"NUM_STEPS_CURRENT_ROUND": 1e30})
            result = made.update(FLModel(params=before)).params
        except FlareError as problem:
            error = str(problem)
        if error is not None:
            assert any(re.search(rf"\b{liar}\b", error) for liar in liars), error
        else:
            assert {key: value.dtype for key, value in result.items()} == dict.fromkeys(before, np.float32)
            assert np.abs(result["w"] - 1000).max() < 1
            assert not result["frozen"].any()


def test_the_error_names_the_site_that_differs_from_the_others():
    ones = {"w": np.ones(3)}
    with pytest.raises(ShapeMismatchError, match=r"'w': site-1 sent shape \(2,\), site-2 sent \(3,\)"):
        combined(CoordinateMedian(), [{"w": np.ones(2)}, ones, ones])
    with pytest.raises(DtypeMismatchError, match="'w': site-1 sent int64, site-2 float64"):
        combined(CoordinateMedian(), [{"w": np.ones(3, int)}, ones, ones])
    with pytest.raises(DtypeMismatchError, match="'w': site-2 sent <U1, which is not numeric"):
        combined(CoordinateMedian(), [ones, {"w": np.array(["a"] * 3)}, ones])
    with pytest.raises(ModelError, match="not all sites sent 'b': only site-2 did"):
        combined(Krum(0), [ones, {**ones, "b": np.ones(1)}, ones])
    with pytest.raises(ModelError, match="not all sites sent 'b': site-1 did not"):
        combined(Krum(0), [ones, {**ones, "b": np.ones(1)}, {**ones, "b": np.ones(1)}])
    aggregator = CoordinateMedian()
    aggregator.add(Reply("site-1", "train", FLModel(params=ones, params_type="FULL")))
    with pytest.raises(ModelError, match=r"site-2 sent params_type DIFF, but site-1 sent FULL"):
        aggregator.add(Reply("site-2", "train", FLModel(params=ones, params_type="DIFF")))


@pytest.mark.parametrize("count", range(3, 13))
def test_as_many_sites_may_be_wrong_as_documented(count):
    """As in the table of the module's docstring: this many cannot control the result, but one more can."""
    for aggregator, bears in (
        (CoordinateMedian(), (count - 1) // 2),
        (TrimmedMean(0.2), count // 5),
        (TrimmedMean(1 / count), 1),
    ):
        for wrong, stands in ((bears, True), (bears + 1, False)):
            sites = [{"w": np.array([float(number)])} for number in range(count - wrong)] + [
                {"w": np.array([1e9])}
            ] * wrong
            assert (combined(aggregator, sites)["w"].item() < count) is stands, (aggregator, wrong)
    if count < 5:
        with pytest.raises(EmptyRoundError, match="needs 5 sites"):
            combined(Krum(1), [{"w": np.ones(1)}] * count)


def test_a_key_that_some_leave_out_is_trimmed_by_the_number_of_all_sites():
    sites = [{"w": np.ones(1)}] * 4 + [
        {"w": np.ones(1), "b": np.array([value])} for value in (1.0, 2.0, 3.0, 4.0, 1e9, 1e9)
    ]
    assert combined(TrimmedMean(0.2), sites)["b"].item() == 3.5


def test_a_trimmed_mean_of_too_few_says_so(caplog):
    combined(TrimmedMean(0.2), [{"w": np.ones(1)}] * 5)
    assert not caplog.text
    combined(TrimmedMean(0.2), [{"w": np.ones(1), "b": np.ones(1)}] * 4)
    assert (
        caplog.text.count("the trimmed mean trims no site; use more sites or a larger fraction fraction=0.2 sites=4")
        == 1
    )

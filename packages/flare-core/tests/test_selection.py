"""Averages of metrics, the best round, stopping."""

from __future__ import annotations

import numpy as np
import pytest

from flare_core import FLModel, RecipeError, Reply
from flare_core.selection import BestScore, MetricMean, StopCondition


def reply(site, metrics, steps=1):
    return Reply(site, "train", FLModel(metrics=metrics, meta={"NUM_STEPS_CURRENT_ROUND": steps}))


def test_metrics_are_averaged_with_the_weights_of_the_sites():
    metrics = MetricMean()
    metrics.add(reply("a", {"acc": 0.6}, 1))
    metrics.add(reply("b", {"acc": np.float32(0.4)}, 3))
    assert metrics.means() == {"acc": pytest.approx(0.45)}


def test_a_site_without_the_metric_leaves_it_to_the_others():
    metrics = MetricMean()
    metrics.add(reply("a", {"acc": 0.6}))
    metrics.add(reply("b", {"loss": 1.0}))
    assert metrics.means() == {"acc": 0.6, "loss": 1.0}
    assert metrics.missing("acc") == ["b"]


def test_nan_does_not_enter_an_average_and_is_reported():
    metrics = MetricMean()
    metrics.add(reply("a", {"acc": float("nan")}))
    metrics.add(reply("b", {"acc": 0.7}))
    assert metrics.means() == {"acc": 0.7}
    assert metrics.problems == ["a: metric 'acc' is nan and is ignored"]


def test_what_is_no_number_is_not_averaged():
    metrics = MetricMean()
    metrics.add(reply("a", {"note": "fine", "confusion": [[1, 0], [0, 1]], "acc": 1}))
    assert metrics.means() == {"acc": 1.0}


@pytest.mark.parametrize(("mode", "values"), [("max", [0.45, 0.55, 0.80]), ("min", [0.55, 0.45, 0.20])])
def test_the_best_round_follows_the_direction(mode, values):
    best = BestScore("metric", mode)
    assert [best.improves(value, round_) for round_, value in enumerate(values)] == [True, True, True]
    assert best.round == 2


def test_nan_and_ties_are_never_better():
    best = BestScore("metric")
    assert not best.improves(float("nan"), 0)
    assert not best.improves(None, 1)
    assert best.improves(0.5, 2)
    assert not best.improves(0.5, 3)
    assert best.round == 2


def test_an_unknown_direction_is_refused():
    with pytest.raises(RecipeError, match="key_metric_mode is 'up'"):
        BestScore("metric", "up")


@pytest.mark.parametrize(
    ("text", "value", "met"),
    [
        ("acc >= 0.9", 0.9, True),
        ("acc > 0.9", 0.9, False),
        ("loss <= 1e-3", 0.001, True),
        ("loss < 1", 2, False),
        ("n = 3", 3, True),
    ],
)
def test_a_stop_condition_compares(text, value, met):
    condition = StopCondition.parse(text)
    assert condition.met({condition.key: value}) is met
    assert not condition.met({})


@pytest.mark.parametrize("text", ["acc>=0.9", "acc >= high", "acc ~ 1", "", "acc >= 0.9 now", 7])
def test_a_stop_condition_that_cannot_be_read_says_how_to_write_it(text):
    with pytest.raises(RecipeError, match=r"accuracy >= 0\.9"):
        StopCondition.parse(text)

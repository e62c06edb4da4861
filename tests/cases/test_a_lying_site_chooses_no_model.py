"""With a robust aggregator, a site's metrics decide as little as its parameters."""

from __future__ import annotations

import pytest

from flare_core.robust import CoordinateMedian, Krum, TrimmedMean

LIES = """
    import numpy as np

    import flare_core.client as flare

    flare.init()
    while flare.is_running():
        model = flare.receive()
        accuracy = 0.1 * (1 + model.current_round)
        report, steps = {"accuracy": accuracy}, 1
        if flare.get_site_name() == "site-1":  # its first model is the best there ever was
            report, steps = {"accuracy": 1e9 if model.current_round == 0 else -1e9, "own": 1.0}, 10**30
        flare.send(flare.FLModel(params=model.params, metrics=report, meta={"NUM_STEPS_CURRENT_ROUND": steps}))
"""


@pytest.mark.parametrize("aggregator", [CoordinateMedian(), TrimmedMean(0.2), Krum(1)], ids=["median", "mean", "krum"])
def test_a_site_that_lies_about_its_metrics_neither_chooses_the_best_model_nor_ends_the_run(project, aggregator):
    recipe = project.recipe(
        LIES,
        min_clients=5,
        num_rounds=4,
        aggregator=aggregator,
        key_metric="accuracy",
        stop_cond="accuracy >= 0.35",
    )
    run = recipe.execute(project.env(5))
    run.get_result()
    assert run.summary()["best"] == {"round": 3, "value": pytest.approx(0.4)}
    assert run.summary()["rounds"] == 4
    assert "own" not in run.summary()["metrics"]  # which no other site has reported


def test_a_metric_reported_by_a_minority_is_not_claimed_to_decide(project):
    script = LIES.replace('report, steps = {"accuracy": accuracy}, 1', "report, steps = {}, 1")
    run = project.recipe(script, min_clients=5, aggregator=CoordinateMedian()).execute(project.env(5))
    assert run.summary()["best"] is None
    text = "site-2, site-3, site-4, site-5 did not report 'accuracy'; too few sites are left to choose by it"
    assert f"round 0: {text}" in run.summary()["warnings"]

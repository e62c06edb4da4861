"""C07: the best model is the one that the sites evaluated, in either direction, despite gaps and NaN."""

from __future__ import annotations

import numpy as np
import pytest

SCRIPT = """
    import numpy as np
    import flare_core.client as flare

    flare.init()
    number = int(flare.get_site_name()[-1])
    accuracy = [[.6, .7, .5], [.4, .5, .9]][number - 1]
    while flare.is_running():
        model = flare.receive()
        round_ = model.current_round
        metrics = {"val_acc": accuracy[round_], "loss": 1 - accuracy[round_], "note": "text", "matrix": [[1]]}
        {body}
        params = {"numpy_key": np.full(2, float(round_ + 1))}  # so a model's values tell how often it was updated
        flare.send(flare.FLModel(params=params, metrics=metrics, meta={"NUM_STEPS_CURRENT_ROUND": [1, 3][number - 1]}))
"""


def run_with(project, body="", **arguments):
    recipe = project.recipe(SCRIPT.replace("{body}", body), num_rounds=3, **arguments)
    return recipe.execute(project.env())


@pytest.mark.parametrize(
    ("key", "mode", "values"), [("val_acc", "max", [0.45, 0.55, 0.80]), ("loss", "min", [0.55, 0.45, 0.2])]
)
def test_the_best_round_is_found_in_both_directions(project, key, mode, values):
    run = run_with(project, key_metric=key, key_metric_mode=mode)
    means = [row["value"] for row in run.metrics() if row["site"] is None and row["key"] == key]
    np.testing.assert_allclose(means, values, rtol=1e-12)
    assert run.summary()["best"] == {"round": 2, "value": pytest.approx(values[2])}


def test_the_saved_model_is_the_one_that_was_evaluated(project):
    run = run_with(project, key_metric="val_acc")
    assert run.load_model("best")["numpy_key"].tolist() == [2.0, 2.0]  # as it was sent out in round 2
    assert run.load_model("global")["numpy_key"].tolist() == [3.0, 3.0]


def test_a_site_without_the_key_leaves_the_decision_to_the_others(project, capsys):
    run = run_with(project, 'if number == 2 and round_ == 1: del metrics["val_acc"]', key_metric="val_acc")
    means = [row["value"] for row in run.metrics() if row["site"] is None and row["key"] == "val_acc"]
    assert means[1] == 0.7
    assert "round 1: site-2 did not report 'val_acc'" in capsys.readouterr().out


def test_nan_never_becomes_the_best(project, capsys):
    run = run_with(project, 'if number == 1 and round_ == 2: metrics["val_acc"] = float("nan")', key_metric="val_acc")
    assert run.summary()["best"] == {"round": 2, "value": pytest.approx(0.9)}
    assert "site-1: metric 'val_acc' is nan" in capsys.readouterr().out
    run = run_with(project, 'if round_ == 2: metrics["val_acc"] = float("nan")', key_metric="val_acc")
    assert run.summary()["best"]["round"] == 1


def test_a_key_that_no_site_reports_is_a_visible_warning(project, capsys):
    run = run_with(project, key_metric="f1")
    assert run.summary()["best"] is None
    assert "no site ever reported the metric 'f1' (reported: loss, val_acc)" in capsys.readouterr().out

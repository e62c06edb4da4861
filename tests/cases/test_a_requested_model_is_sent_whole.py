"""Differences and compression in every task: a model requested from a site is sent whole."""

from __future__ import annotations

import json

import numpy as np
import pytest

from flare_core import RecipeError
from flare_core.recipes import add_cross_site_evaluation
from flare_core.robust import CoordinateMedian, Krum
from flare_recipes_np import CrossSiteEvalRecipe, FedAvgRecipe

ALL_TASKS = """
    import numpy as np
    import flare_core.client as flare

    flare.init()
    number = int(flare.get_site_name().removeprefix("site-"))
    own = {"w": np.full(2000, 10.0 * number)}
    while flare.is_running():
        model = flare.receive()
        if flare.is_submit_model():
            flare.send(flare.FLModel(params=own))
            continue
        metrics = {"mean": float(model.params["w"].mean())}
        if flare.is_evaluate():
            flare.send(flare.FLModel(metrics=metrics))
        else:
            own = {"w": model.params["w"] + number}
            flare.send(flare.FLModel(params=own, metrics=metrics))
"""


@pytest.mark.parametrize("external", [False, True], ids=["in-process", "external"])
@pytest.mark.parametrize(
    ("transfer", "compression"),
    [("FULL", None), ("FULL", "zstd"), ("DIFF", None), ("DIFF", "zstd"), ("DIFF", "topk:0.1")],
)
@pytest.mark.parametrize("trains", [False, True], ids=["alone", "after training"])
def test_the_model_of_a_site_is_evaluated_whole(project, trains, transfer, compression, external):
    made = (FedAvgRecipe if trains else CrossSiteEvalRecipe)(
        name="transfers",
        min_clients=2,
        initial_model={"w": np.full(2000, 100.0)},
        train_script=project.write("client.py", ALL_TASKS),
        params_transfer_type=transfer,
        compression=compression,
        launch_external_process=external,
        **({"num_rounds": 1, "key_metric": None} if trains else {}),
    )
    if trains:
        add_cross_site_evaluation(made)
    folder = made.execute(project.env()).get_result()
    found = json.loads((folder / "server" / "cross_site_evaluation.json").read_text())
    wanted = {"site-1": 101.0, "site-2": 102.0} if trains else {"site-1": 10.0, "site-2": 20.0}
    for values in found.values():
        assert {site: values[site]["mean"] for site in wanted} == wanted


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"aggregator": CoordinateMedian(), "compression": "topk:0.1"}, "compression .*topk.* aggregator, .*Median"),
        ({"aggregator": Krum(1), "quorum": 4}, "quorum is 4, but the aggregator, a Krum, needs 5"),
        (
            {"aggregator": Krum(1), "clients_per_round": 4},
            "clients_per_round is 4, but the aggregator, a Krum, needs 5",
        ),
    ],
)
def test_an_aggregator_that_gets_partial_models_is_refused(project, arguments, match):
    with pytest.raises(RecipeError, match=match):
        project.recipe(params_transfer_type="DIFF", **arguments)

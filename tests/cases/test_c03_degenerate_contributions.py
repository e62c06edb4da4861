"""C03: zero weights, NaN updates and invalid weights end the run and keep the previous model."""

from __future__ import annotations

import numpy as np
import pytest

from flare_core import Aggregator, JobFailed

SCRIPT = """
    import sys
    import numpy as np
    import flare_core.client as flare

    flare.init()
    number = int(flare.get_site_name()[-1]) - 1
    arrays, weights = eval(sys.argv[1], {"nan": float("nan")})
    while flare.is_running():
        model = flare.receive()
        params = {"numpy_key": np.array(arrays[number])}
        if model.current_round == 0:  # the first round goes well
            params = {"numpy_key": np.array([7.0, 7.0])}
        weight = 1 if model.current_round == 0 else weights[number]
        flare.send(flare.FLModel(params=params, meta={"NUM_STEPS_CURRENT_ROUND": weight}))
"""


class OwnMean(Aggregator):
    """A user's aggregator that checks nothing."""

    def __init__(self):
        self.reset()

    def reset(self):
        self.replies = []

    def add(self, reply):
        self.replies.append({key: np.array(value) for key, value in reply.model.params.items()})

    def result(self):
        from flare_core import FLModel

        return FLModel(params={"numpy_key": np.mean([each["numpy_key"] for each in self.replies], axis=0)})


def run_with(project, arrays, weights, **arguments):
    recipe = project.recipe(
        SCRIPT, min_clients=len(arrays), num_rounds=2, train_args=[repr((arrays, weights))], **arguments
    )
    return recipe.execute(project.env(len(arrays)), raise_on_failure=False)


@pytest.mark.parametrize("transfer", ["FULL", "DIFF"])
@pytest.mark.parametrize(
    ("arrays", "weights", "message"),
    [
        ([[1.0, 2.0], [3.0, 4.0]], [0, 0], "total weight of site-1, site-2 is zero"),
        ([[1.0, 1.0], ["nan", 1.0], [3.0, 3.0]], [1, 1, 1], "site-2: 'numpy_key' holds 1 that are NaN"),
        ([[1.0, 1.0], [1.0, 1.0]], [1, -1], r"site-2: meta\[.NUM_STEPS_CURRENT_ROUND.\] is -1"),
        ([[1.0, 1.0], [1.0, 1.0]], [1, float("nan")], r"site-2: meta\[.NUM_STEPS_CURRENT_ROUND.\] is nan"),
    ],
)
def test_the_run_fails_and_keeps_the_model_of_the_round_before(project, arrays, weights, message, transfer):
    arrays = [[float(value) for value in row] for row in arrays]
    run = run_with(project, arrays, weights, params_transfer_type=transfer)
    with pytest.raises(JobFailed, match=message):
        run.get_result()
    assert run.load_model(raise_on_failure=False)["numpy_key"].tolist() == [7.0, 7.0]


def test_an_aggregator_of_the_users_own_cannot_put_nan_into_the_model(project):
    run = run_with(project, [[1.0, 1.0], [float("nan"), 1.0]], [1, 1], aggregator=OwnMean())
    with pytest.raises(JobFailed, match="the result of OwnMean: 'numpy_key' holds 1 that are NaN"):
        run.get_result()
    assert run.load_model(raise_on_failure=False)["numpy_key"].tolist() == [7.0, 7.0]


def test_an_aggregator_of_the_users_own_cannot_use_an_invalid_weight(project):
    run = run_with(project, [[1.0, 1.0], [1.0, 1.0]], [1, -1], aggregator=OwnMean())
    with pytest.raises(JobFailed, match="site-2: meta"):
        run.get_result()

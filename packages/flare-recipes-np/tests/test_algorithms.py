"""Algorithms run in the simulator and compared with their mathematics."""

from __future__ import annotations

import json
import os
import textwrap

import numpy as np
import pytest

from flare_core import Evaluator, FlareError, JobFailed, RecipeError
from flare_core.recipes import add_cross_site_evaluation, add_model_distribution
from flare_recipes_np import (
    CrossSiteEvalRecipe,
    CyclicRecipe,
    FedAvgRecipe,
    FedEvalRecipe,
    FedOptRecipe,
    ScaffoldRecipe,
)
from flare_runtime import SimEnv

# Site i has the loss a_i / 2 * (w - b_i)^2; the mean of the three losses has its minimum at sum(a b) / sum(a).
CURVATURES, CENTRES = (1.0, 4.0, 10.0), (3.0, -1.0, 0.5)
OPTIMUM = np.dot(CURVATURES, CENTRES) / sum(CURVATURES)

QUADRATIC = f"""
    import numpy as np
    import flare_core.client as flare

    flare.init()
    index = int(flare.get_site_name().removeprefix("site-")) - 1
    a, b = {CURVATURES}[index], {CENTRES}[index]
    steps, rate = 10, 0.05
    own = 0.0
    while flare.is_running():
        model = flare.receive()
        start = w = model.params["numpy_key"]
        server = model.optimizer_params["numpy_key"] if model.optimizer_params else 0.0
        for _ in range(steps):
            w = w - rate * (a * (w - b) - own + server)
        sent = None
        if model.optimizer_params:  # option II of the paper
            new = own - server + (start - w) / (steps * rate)
            sent, own = {{"numpy_key": np.asarray(new - own)}}, new
        flare.send(flare.FLModel(params={{"numpy_key": w}}, optimizer_params=sent, metrics={{"loss": float(a * b)}}))
"""

HALVES = """
    import numpy as np
    import flare_core.client as flare

    flare.init()
    number = int(flare.get_site_name().removeprefix("site-"))
    while flare.is_running():
        w = flare.receive().params["numpy_key"]
        flare.send(flare.FLModel(params={"numpy_key": 0.5 * w + number}, metrics={"seen": float(w[0])}))
"""

ALL_TASKS = """
    import numpy as np
    import flare_core.client as flare

    flare.init()
    number = int(flare.get_site_name().removeprefix("site-"))
    own = np.full(2, 10.0 * number)
    while flare.is_running():
        model = flare.receive()
        if flare.is_submit_model():
            flare.send(flare.FLModel(params={"numpy_key": own}))
            continue
        metrics = {"sum": float(model.params["numpy_key"].sum()) + number, "site": float(number)}
        if flare.is_evaluate():
            flare.send(flare.FLModel(metrics=metrics, meta={"NUM_STEPS_CURRENT_ROUND": number}))
        else:
            own = model.params["numpy_key"] + number
            flare.send(flare.FLModel(params={"numpy_key": own}, metrics=metrics))
"""


@pytest.fixture
def script(tmp_path):
    def write(text):
        path = tmp_path / "client.py"
        path.write_text(textwrap.dedent(text))
        return path

    return write


@pytest.fixture
def run(tmp_path):
    def execute(recipe, clients=3):
        return recipe.execute(SimEnv(num_clients=clients, workspace_root=tmp_path / "runs"))

    return execute


def quadratic(cls, script, rounds, **arguments):
    return cls(
        min_clients=3, num_rounds=rounds, initial_model=np.zeros(2), train_script=script(QUADRATIC),
        key_metric="loss", **arguments,
    )  # fmt: skip


def test_scaffold_reaches_the_optimum_where_federated_averaging_does_not(script, run):
    averaged = run(quadratic(FedAvgRecipe, script, 200)).load_model()["numpy_key"]
    shrunk = [1 - (1 - 0.05 * a) ** 10 for a in CURVATURES]
    fixed_point = np.dot(shrunk, CENTRES) / sum(shrunk)  # of FedAvg with 10 local steps, in closed form
    assert averaged == pytest.approx([fixed_point] * 2, abs=1e-9)
    assert abs(fixed_point - OPTIMUM) > 0.05
    corrected = run(quadratic(ScaffoldRecipe, script, 200)).load_model()["numpy_key"]
    assert corrected == pytest.approx([OPTIMUM] * 2, abs=1e-9)


@pytest.mark.parametrize("transfer", ["FULL", "DIFF"])
def test_each_round_of_scaffold_matches_the_paper(script, run, transfer):
    found = run(quadratic(ScaffoldRecipe, script, 5, params_transfer_type=transfer)).load_model()["numpy_key"]
    x, c, own = 0.0, 0.0, [0.0] * 3
    for _ in range(5):
        models, changes = [], []
        for index, (a, b) in enumerate(zip(CURVATURES, CENTRES, strict=True)):
            y = x
            for _ in range(10):
                y -= 0.05 * (a * (y - b) - own[index] + c)
            new = own[index] - c + (x - y) / (10 * 0.05)
            models.append(y)
            changes.append(new - own[index])
            own[index] = new
        x, c = np.mean(models), c + np.mean(changes)
    assert found == pytest.approx([x] * 2, abs=1e-12)


def test_scaffold_names_a_site_that_sends_no_control_differences(script, run):
    recipe = ScaffoldRecipe(min_clients=2, initial_model=np.zeros(2), train_script=script(HALVES))
    with pytest.raises(JobFailed, match="site-1: the reply holds no control differences"):
        run(recipe, 2)
    with pytest.raises(RecipeError, match="aggregator cannot be chosen for SCAFFOLD"):
        ScaffoldRecipe(
            min_clients=2, initial_model=np.zeros(2), train_script=script(HALVES),
            aggregator={"class_path": "flare_core.robust.CoordinateMedian"},
        )  # fmt: skip


def test_fedopt_with_momentum_is_fedavgm(script, run):
    sgd = {"class_path": "flare_core.optimizers.SGD", "args": {"lr": 0.5, "momentum": 0.9}}
    cosine = {"class_path": "flare_core.schedules.Cosine", "args": {"rounds": 4}}
    found = run(quadratic(FedOptRecipe, script, 4, optimizer_args=sgd, lr_scheduler_args=cosine)).load_model()
    w, momentum = 0.0, 0.0
    for round_ in range(4):
        mean = np.mean([b + (w - b) * (1 - 0.05 * a) ** 10 for a, b in zip(CURVATURES, CENTRES, strict=True)])
        momentum = 0.9 * momentum + (w - mean)
        w -= 0.5 * (1 + np.cos(np.pi * round_ / 4)) / 2 * momentum
    assert found["numpy_key"] == pytest.approx([w] * 2, abs=1e-12)


def test_plain_server_sgd_equals_federated_averaging(script, run):
    sgd = {"class_path": "flare_core.optimizers.SGD"}
    stepped = run(quadratic(FedOptRecipe, script, 5, optimizer_args=sgd)).load_model()["numpy_key"]
    assert stepped == pytest.approx(run(quadratic(FedAvgRecipe, script, 5)).load_model()["numpy_key"], abs=1e-15)


@pytest.mark.parametrize(("order", "sites"), [("fixed", (1, 2, 3)), (["site-3", "site-1"], (3, 1))])
@pytest.mark.parametrize("transfer", ["FULL", "DIFF"])
def test_cyclic_learning_trains_sites_one_after_another(script, run, order, sites, transfer):
    recipe = CyclicRecipe(
        min_clients=2, num_rounds=3, initial_model=np.ones(2), train_script=script(HALVES), order=order,
        params_transfer_type=transfer,
    )  # fmt: skip
    w = 1.0
    for _ in range(3):
        for number in sites:
            w = 0.5 * w + number
    assert run(recipe).load_model()["numpy_key"].tolist() == [w, w]


def test_a_random_order_changes_each_round_but_repeats_in_each_run(script, run):
    recipe = CyclicRecipe(
        min_clients=3, num_rounds=4, initial_model=np.ones(1), train_script=script(HALVES), order="random", seed=5
    )
    first, second = run(recipe), run(recipe)
    assert first.load_model()["numpy_key"] == second.load_model()["numpy_key"]
    seen = [row["value"] for row in first.metrics() if row["site"] is not None]
    orders = {tuple(np.argsort(seen[start : start + 3])) for start in range(0, 12, 3)}
    assert len(orders) > 1


def test_invalid_orders_are_refused(script, run):
    arguments = {"min_clients": 1, "initial_model": np.ones(1), "train_script": script(HALVES)}
    with pytest.raises(JobFailed, match="order names 'site-9'; the sites are site-1, site-2, site-3"):
        run(CyclicRecipe(order=["site-9"], **arguments))
    with pytest.raises(RecipeError, match="order is 'sorted'"):
        CyclicRecipe(order="sorted", **arguments)
    with pytest.raises(JobFailed, match="3 sites must train in each round, but 1 did"):
        run(CyclicRecipe(order=["site-2"], **{**arguments, "min_clients": 3}))


WRONG_SHAPE = """
    import flare_core.client as flare

    import numpy as np

    flare.init()
    while flare.is_running():
        model = flare.receive()
        flare.send(flare.FLModel(params={"numpy_key": np.zeros(5 if flare.get_site_name() == "site-2" else 2)}))
"""


def test_cyclic_learning_names_a_site_whose_update_has_the_wrong_shape(script, run):
    recipe = CyclicRecipe(min_clients=3, num_rounds=1, initial_model=np.ones(2), train_script=script(WRONG_SHAPE))
    with pytest.raises(JobFailed, match=r"the update of site-2 has shape \(5,\)"):
        run(recipe)


def test_an_existing_model_is_evaluated_at_every_site(script, run):
    recipe = FedEvalRecipe(min_clients=3, initial_model=np.array([1.0, 2.0]), train_script=script(ALL_TASKS))
    found = run(recipe)
    rows = {row["site"]: row["value"] for row in found.metrics() if row["key"] == "sum"}
    assert rows == {"site-1": 4.0, "site-2": 5.0, "site-3": 6.0, None: pytest.approx((4 + 2 * 5 + 3 * 6) / 6)}
    assert found.load_model()["numpy_key"].tolist() == [1.0, 2.0]
    with pytest.raises(RecipeError, match="num_rounds is 2; an evaluation has one round"):
        FedEvalRecipe(min_clients=3, num_rounds=2, initial_model=np.ones(1), train_script=script(ALL_TASKS))


def results_of(found):
    return json.loads((found.get_result() / "server" / "cross_site_evaluation.json").read_text())


def test_every_model_is_evaluated_at_every_site(script, run, capsys):
    recipe = FedAvgRecipe(
        min_clients=3, num_rounds=2, initial_model=np.zeros(2), train_script=script(ALL_TASKS), key_metric="sum"
    )
    add_cross_site_evaluation(recipe)
    with pytest.raises(RecipeError, match="already has a CrossSiteEval"):
        add_cross_site_evaluation(recipe)
    found = run(recipe)
    # Rounds: 0 -> 1, 2, 3, mean 2 -> 3, 4, 5, mean 4. The best model is the first mean, which scored 2 * 2 + 2.
    totals = {"global": 8.0, "best": 4.0, "site-1": 6.0, "site-2": 8.0, "site-3": 10.0}
    assert results_of(found) == {
        f"site-{number}": {name: {"sum": total + number, "site": float(number)} for name, total in totals.items()}
        for number in (1, 2, 3)
    }
    shown = capsys.readouterr().out
    assert "sum of each model on each site's data" in shown
    assert next(line.split() for line in shown.splitlines() if line.strip().startswith("data of")) == [
        "data", "of", *totals,
    ]  # fmt: skip


def test_models_can_be_compared_without_training(script, run):
    recipe = CrossSiteEvalRecipe(
        min_clients=2,
        initial_model=np.ones(2),
        train_script=script(ALL_TASKS),
        participating_clients=["site-1", "site-3"],
    )
    found = results_of(run(recipe))
    assert {site: {name: metrics["sum"] for name, metrics in models.items()} for site, models in found.items()} == {
        "site-1": {"global": 3.0, "site-1": 21.0, "site-3": 61.0},
        "site-3": {"global": 5.0, "site-1": 23.0, "site-3": 63.0},
    }


def test_a_robust_aggregator_reads_lazy_results(script, run):
    text = """
        import numpy as np
        import flare_core.client as flare

        flare.init()
        number = int(flare.get_site_name().removeprefix("site-"))
        while flare.is_running():
            w = flare.receive().params["w"]
            flare.send(flare.FLModel(params={"w": w + number if number < 5 else w * np.nan}))
    """
    recipe = FedAvgRecipe(
        min_clients=5, num_rounds=2, initial_model={"w": np.zeros(300_000)}, train_script=script(text),
        aggregator={"class_path": "flare_core.robust.CoordinateMedian"}, key_metric=None,
    )  # fmt: skip
    assert set(run(recipe, 5).load_model()["w"].tolist()) == {6.0}


def test_a_model_part_named_optimizer_params_is_refused(script):
    with pytest.raises(RecipeError, match="a part named 'optimizer_params'"):
        FedAvgRecipe(
            min_clients=1,
            initial_model={"w": np.zeros(1), "optimizer_params": {"m": np.zeros(1)}},
            train_script=script(HALVES),
        )


def test_clients_per_round_samples_sites_in_each_round(script, run):
    recipe = FedAvgRecipe(
        min_clients=1,
        num_rounds=20,
        initial_model=np.zeros(2),
        train_script=script(ALL_TASKS),
        clients_per_round=2,
        seed=1,
    )
    first = run(recipe)
    by_round = {}
    for row in first.metrics():
        if row["key"] == "site" and row["site"] is not None:
            by_round.setdefault(row["round"], []).append(row["site"])
    assert {len(sites) for sites in by_round.values()} == {2}
    assert len({tuple(sites) for sites in by_round.values()}) == 3
    assert first.load_model()["numpy_key"].tolist() == run(recipe).load_model()["numpy_key"].tolist()
    with pytest.raises(FlareError, match="clients_per_round is 1; give an integer of at least 2"):
        FedAvgRecipe(min_clients=2, initial_model=np.zeros(1), train_script=script(HALVES), clients_per_round=1)


@pytest.mark.parametrize("recipe", [FedAvgRecipe, FedOptRecipe])
def test_a_quorum_of_all_sites_gives_identical_results_to_no_quorum(script, run, recipe):
    found = []
    for quorum in (None, 3, 100):
        done = run(quadratic(recipe, script, 4, quorum=quorum))
        server = done.get_result() / "server"
        models = [(server / f"{name}_model.safetensors").read_bytes() for name in ("global", "best")]
        found.append((models, done.summary()["best"]))
    assert found[0] == found[1] == found[2]


WAITS = """
    import os
    import numpy as np
    import flare_core.client as flare

    flare.init()
    slow = flare.get_site_name() == "site-1"
    done = 0
    while flare.is_running():
        model = flare.receive()
        done += 1
        if (slow, done) in ((False, 5), (True, 2)):
            open(f"{folder}/{{not slow}}", "wb").close()  # unblocks the other site
        if (slow, done) in ((True, 1), (False, 5)):
            open(f"{folder}/{{slow}}", "rb").read()
        step = 10.0 if slow else 1.0
        params = {{"numpy_key": model.params["numpy_key"] + step}}
        flare.send(flare.FLModel(params=params, metrics={{"round": model.current_round}}))
"""


def test_a_slow_site_does_not_delay_a_quorum(script, tmp_path):
    """Without the quorum, site 1 and site 2 would block each other forever."""
    for name in ("True", "False"):
        os.mkfifo(tmp_path / name)
    recipe = FedAvgRecipe(
        min_clients=2,
        num_rounds=6,
        initial_model=np.zeros(2),
        train_script=script(WAITS.format(folder=tmp_path)),
        key_metric=None,
        quorum=1,
        staleness_exponent=0,
    )
    done = recipe.execute(SimEnv(num_clients=2, num_threads=2, workspace_root=tmp_path / "runs"))
    rows = [(row["site"], row["round"], row["value"]) for row in done.metrics() if row["key"] == "round"]
    rows = [row for row in rows if row[0] is not None]
    taken, made_from = next(row[1:] for row in rows if row[0] == "site-1")
    assert (taken, made_from) == (4, 0)  # trained from the first model, used four rounds later
    assert [row[2] for row in rows if row[0] == "site-2"][:4] == [0, 1, 2, 3]
    by_round = [[10.0 if site == "site-1" else 1.0 for site, taken, _ in rows if taken == each] for each in range(6)]
    expected = sum(sum(steps) / len(steps) for steps in by_round)
    assert done.load_model()["numpy_key"] == pytest.approx([expected] * 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"quorum": 0}, "quorum is 0"),
        ({"quorum": 1.5}, "quorum is 1.5"),
        ({"max_staleness": -1}, "max_staleness is -1"),
        ({"staleness_exponent": float("nan")}, "staleness_exponent is nan"),
        ({"staleness_exponent": True}, "staleness_exponent is True"),
    ],
)
def test_invalid_quorum_arguments_are_refused(script, arguments, message):
    with pytest.raises(RecipeError, match=message):
        quadratic(FedAvgRecipe, script, 1, **arguments)


def test_scaffold_refuses_a_quorum(script):
    with pytest.raises(RecipeError, match="quorum cannot be chosen for SCAFFOLD"):
        quadratic(ScaffoldRecipe, script, 1, quorum=1)


class Distance(Evaluator):
    """The distance between the model and a target."""

    def __init__(self, target: float) -> None:
        self.target = target

    def evaluate(self, model):
        return {"distance": abs(float(model["numpy_key"][0]) - self.target), "loss": np.float32(1.5)}


class Wrong(Evaluator):
    def evaluate(self, model):
        return 0.5


def test_the_server_evaluates_each_new_model(script, run, monkeypatch):
    monkeypatch.syspath_prepend(os.path.dirname(__file__))
    evaluator = {"class_path": "test_algorithms.Distance", "args": {"target": OPTIMUM}}
    recipe = FedAvgRecipe(
        min_clients=3,
        num_rounds=6,
        initial_model=np.zeros(2),
        train_script=script(QUADRATIC),
        evaluator=evaluator,
        key_metric="distance",
        key_metric_mode="min",
    )
    done = run(recipe)
    distances = [row["value"] for row in done.metrics() if row["key"] == "distance" and row["site"] is None]
    assert len(distances) == 6
    best = int(np.argmin(distances))
    assert done.summary()["best"] == {"round": best, "value": distances[best]}
    found = done.load_model("best")["numpy_key"]  # the round's result, not its starting model
    assert abs(found[0] - OPTIMUM) == distances[best]
    assert abs(done.load_model()["numpy_key"][0] - OPTIMUM) == distances[-1]
    losses = [row["value"] for row in done.metrics() if row["key"] == "loss" and row["site"] is None]
    assert losses == [1.5] * 6  # the server's value replaces the sites'


def test_invalid_evaluators_and_their_results_are_refused(script, run):
    evaluator = {"class_path": "test_algorithms.Wrong", "args": {}}
    with pytest.raises(JobFailed, match=r"Wrong.evaluate\(\) returned 0.5"):
        run(quadratic(FedAvgRecipe, script, 1, evaluator=evaluator))
    with pytest.raises(RecipeError, match="evaluator is a SGD"):
        quadratic(FedAvgRecipe, script, 1, evaluator={"class_path": "flare_core.optimizers.SGD", "args": {"lr": 1.0}})


def test_model_distribution_gives_sites_the_trained_models(script, run):
    recipe = quadratic(FedAvgRecipe, script, 4)
    add_model_distribution(recipe)
    with pytest.raises(RecipeError, match="already has a Distribution"):
        add_model_distribution(recipe)
    folder = run(recipe).get_result()
    for name in ("global", "best"):
        wanted = (folder / "server" / f"{name}_model.safetensors").read_bytes()
        for site in ("site-1", "site-2", "site-3"):
            assert (folder / "sites" / site / f"{name}_model.safetensors").read_bytes() == wanted

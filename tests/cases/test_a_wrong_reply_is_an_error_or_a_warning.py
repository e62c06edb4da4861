"""A reply that is not a trained model produces an error in the script or a warning in the run, never silence."""

from __future__ import annotations

import json

import numpy as np
import pytest

from flare_core import Aggregator, Filter, FLModel, JobFailed
from flare_core.recipes import add_cross_site_evaluation
from flare_recipes_np import CyclicRecipe, FedEvalRecipe, SwarmLearningRecipe

LOOP = """
    import numpy as np
    import flare_core.client as flare

    flare.init()
    number = int(flare.get_site_name()[-1])
    while flare.is_running():
        model = flare.receive()
        params = model.params
        values = None if params is None else params["numpy_key"]
        {body}
"""

UNCHANGED = "returned the model unchanged in round 0"


def run_with(project, body, **arguments):
    recipe = project.recipe(LOOP.replace("{body}", body), **arguments)
    return recipe.execute(project.env(), raise_on_failure=False)


def warnings_of(run):
    return run.summary()["warnings"]


def send(values, rest=""):
    return f'flare.send(flare.FLModel(params={{"numpy_key": {values}}}{rest}))'


@pytest.mark.parametrize("external", [False, True])
@pytest.mark.parametrize("transfer", ["FULL", "DIFF"])
@pytest.mark.parametrize("size", [2, 100_000])
def test_a_model_returned_unchanged_is_a_warning(project, capsys, size, transfer, external):
    run = run_with(
        project,
        send("values.copy()"),
        num_rounds=3,
        initial_model=np.arange(float(size)),
        params_transfer_type=transfer,
        launch_external_process=external,
    )
    assert [text for text in warnings_of(run) if "unchanged" in text] == warnings_of(run)
    assert warnings_of(run)[0].startswith(f"site-1, site-2: {UNCHANGED}")
    assert json.loads((run.get_result() / "summary.json").read_text())["warnings"] == warnings_of(run)
    shown = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("warning: ") and UNCHANGED in line for line in shown) == 1  # once, while it runs
    assert sum(line.startswith("warning   site-1, site-2: ") for line in shown) == 1  # and in the end


@pytest.mark.parametrize("recipe", ["CyclicRecipe", "SwarmLearningRecipe"])
def test_a_model_returned_unchanged_is_a_warning_with_any_algorithm(project, recipe):
    classes = {"CyclicRecipe": CyclicRecipe, "SwarmLearningRecipe": SwarmLearningRecipe}
    made = classes[recipe](
        name="case",
        min_clients=2,
        num_rounds=1,
        initial_model=np.ones(2),
        train_script=project.write("client.py", LOOP.replace("{body}", send("values"))),
    )
    assert UNCHANGED in warnings_of(made.execute(project.env()))[0]


def test_lossy_compression_does_not_hide_an_unchanged_model(project):
    run = run_with(project, send("values"), initial_model=np.arange(50_000.0), compression="int8")
    assert UNCHANGED in warnings_of(run)[0]


def test_a_converged_model_gives_no_warning(project):
    run = run_with(project, send("values * 0 + 1"), num_rounds=3)
    assert warnings_of(run) == []


def test_a_reply_with_other_keys_is_not_mistaken_for_a_partial_model(project):
    class Sums(OwnMean):
        def add(self, reply):
            self.all.append(np.array(reply.model.params["sums"]))

    run = run_with(project, 'flare.send(flare.FLModel(params={"sums": values + 1}))', aggregator=Sums())
    assert (run.load_model()["numpy_key"].tolist(), warnings_of(run)) == ([1.0, 1.0], [])


@pytest.mark.parametrize("transfer", ["FULL", "DIFF"])
def test_a_refused_send_can_be_repeated(project, transfer):
    body = """
        try:
            flare.send(flare.FLModel(params={"numpy_key": values > 0}))
        except ValueError:
            pass
        flare.send(flare.FLModel(params={"numpy_key": values + number}))
    """
    run = run_with(project, body, params_transfer_type=transfer, initial_model=np.full(2, 10.0))
    assert run.load_model()["numpy_key"].tolist() == [11.5, 11.5]
    assert warnings_of(run) == []


def test_a_trained_model_gives_no_warning(project):
    run = run_with(
        project,
        send("values + number", ', metrics={"accuracy": 0.5}, meta={"NUM_STEPS_CURRENT_ROUND": number}'),
        num_rounds=2,
        initial_model=np.arange(50_000.0),
    )
    assert warnings_of(run) == []


def test_a_single_changed_value_is_a_change(project):
    run = run_with(project, "values[1] += 1; " + send("values"), initial_model=np.ones(1000))
    assert warnings_of(run) == []


def test_a_partially_sent_model_is_a_warning(project):
    run = run_with(
        project,
        'flare.send(flare.FLModel(params={} if number == 2 else {"numpy_key": values + 1}))',
        initial_model={"numpy_key": np.ones(2), "head": np.ones(1)},
    )
    assert sorted(warnings_of(run)) == [
        "site-1: sent 1 of the model's 2 keys; the server keeps its own values of the others, such as 'head'",
        "site-2: sent 0 of the model's 2 keys; the server keeps its own values of the others, such as 'numpy_key'",
    ]


@pytest.mark.parametrize("transfer", ["FULL", "DIFF"])
@pytest.mark.parametrize(
    ("values", "initial", "message"),
    [
        ("values + 0.4", np.zeros(2, np.int64), "'numpy_key' is float64, the model received has int64"),
        ("values > 0", np.zeros(2), "'numpy_key' is bool, the model received has float64"),
        ("values + 1j", np.zeros(2), "'numpy_key' is complex128, the model received has float64"),
    ],
)
def test_other_kinds_of_numbers_are_refused(project, values, initial, message, transfer):
    run = run_with(project, send(values), initial_model=initial, params_transfer_type=transfer)
    with pytest.raises(JobFailed, match=rf"site-\d: {message}"):
        run.get_result()


@pytest.mark.parametrize("transfer", ["FULL", "DIFF"])
@pytest.mark.parametrize(
    ("values", "initial", "mean"),
    [
        ("(values + number).astype(np.int64)", np.zeros(2), [1.5, 1.5]),
        ("(values + 2 * number).astype(np.float16)", np.zeros(2, np.int64), [3, 3]),
    ],
)
def test_integers_match_those_of_the_model(project, values, initial, mean, transfer):
    run = run_with(project, send(values), initial_model=initial, params_transfer_type=transfer)
    model = run.load_model()["numpy_key"]
    assert (model.dtype, model.tolist()) == (initial.dtype, mean)


@pytest.mark.parametrize("transfer", ["FULL", "DIFF"])
@pytest.mark.parametrize("sent", ["np.float16", "np.float32", "np.float64", "[np.float32, np.float64][number - 1]"])
@pytest.mark.parametrize("kept", [np.float32, np.float64])
def test_the_global_model_keeps_its_dtype(project, kept, sent, transfer):
    run = run_with(
        project,
        send(f"(values + 0.5 * number).astype({sent})"),
        num_rounds=2,
        initial_model=np.zeros(2, kept),
        params_transfer_type=transfer,
    )
    model = run.load_model()["numpy_key"]
    assert (model.dtype, model.tolist()) == (kept, [1.5, 1.5])


@pytest.mark.parametrize(
    ("dtype", "start", "difference"),
    [(np.float16, 60000, 60000), (np.float32, 3e38, 1e38)],
)
def test_a_sum_beyond_the_dtype_ends_the_run_and_keeps_the_previous_model(project, dtype, start, difference):
    run = run_with(
        project,
        send(f'np.full(2, {difference}, "{np.dtype(dtype).name}")', ', params_type="DIFF"'),
        initial_model=np.full(2, start, dtype),
    )
    with pytest.raises(JobFailed, match=f"'numpy_key': .* exceeds the range of {np.dtype(dtype)}"):
        run.get_result()
    kept = run.load_model(raise_on_failure=False)["numpy_key"]
    assert kept.tolist() == np.full(2, start, dtype).tolist()


def test_a_mean_whose_sum_exceeds_the_dtype_is_not_infinity(project):
    run = run_with(project, send("values.copy() + 1e38"), initial_model=np.full(2, 2e38, np.float32))
    with pytest.raises(JobFailed, match="site-2: 'numpy_key' overflows when it is weighted and added to the others"):
        run.get_result()


@pytest.mark.parametrize("transfer", ["FULL", "DIFF"])
def test_a_params_type_assigned_later_counts(project, transfer):
    body = 'model = flare.FLModel(params={"numpy_key": np.full(2, 0.5)}); model.params_type = "DIFF"; flare.send(model)'
    run = run_with(project, body, num_rounds=2, initial_model=np.full(2, 10.0), params_transfer_type=transfer)
    assert run.load_model()["numpy_key"].tolist() == [11.0, 11.0]


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        ("values * 0 + 0.01", "FULL", "sent a whole model that is nearly zero beside the one received"),
        ("values + 0.01", "DIFF", "sent as a difference (params_type DIFF) what is nearly the model received"),
    ],
)
def test_a_difference_sent_as_a_model_or_a_model_sent_as_a_difference_is_a_warning(project, values, kind, message):
    run = run_with(project, send(values, f', params_type="{kind}"'), num_rounds=3, initial_model=np.arange(10.0))
    assert any(text.startswith(f"site-1, site-2: {message}") for text in warnings_of(run))


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ('{"NUM_STEPS_CURRENT_ROUND": 60000} if number == 1 else {}', "site-2 sends no meta"),
        ('{"num_steps_current_round": 10 * number}', "meta['num_steps_current_round'] of the replies is ignored"),
        ('{"num_samples": 10 * number}', "meta['num_samples'] of the replies is ignored"),
    ],
)
def test_weights_missing_from_some_sites_are_a_warning(project, meta, message):
    run = run_with(project, send("values + number", f", meta={meta}"), num_rounds=3)
    (text,) = warnings_of(run)
    assert text.startswith(message)


def test_weights_of_one_next_to_missing_ones_give_no_warning(project):
    run = run_with(project, send("values + 1", ', meta={"NUM_STEPS_CURRENT_ROUND": 1} if number == 1 else {}'))
    assert warnings_of(run) == []


@pytest.mark.parametrize("weight", ["True", "10**400"])
def test_an_invalid_weight_names_the_site(project, weight):
    run = run_with(project, send("values + 1", f', meta={{"NUM_STEPS_CURRENT_ROUND": {weight}}}'))
    with pytest.raises(JobFailed, match=r"site-1: meta\[.NUM_STEPS_CURRENT_ROUND.\] is "):
        run.get_result()


class Bare(Filter):
    """Returns the params and nothing else."""

    def process(self, model, context):
        return FLModel(params=model.params)


@pytest.mark.parametrize(
    ("rest", "transfer", "message"),
    [
        ("", "DIFF", "params_type DIFF, so a difference would count as a whole model"),
        (', meta={"NUM_STEPS_CURRENT_ROUND": 10}', "FULL", "so the contribution would count as 1 step"),
    ],
)
@pytest.mark.parametrize("end", ["add_client_output_filter", "add_server_input_filter"])
def test_a_filter_that_drops_the_params_type_is_refused(project, end, rest, transfer, message):
    recipe = project.recipe(LOOP.replace("{body}", send("values + 1", rest)), params_transfer_type=transfer)
    getattr(recipe, end)(Bare())
    with pytest.raises(JobFailed, match=f"the filter Bare .* returned a model without .*{message}"):
        recipe.execute(project.env())


@pytest.mark.parametrize("end", ["add_server_output_filter", "add_client_input_filter"])
def test_a_filter_that_drops_the_round_of_a_task_is_refused(project, end):
    recipe = project.recipe(LOOP.replace("{body}", send("values + 1")))
    getattr(recipe, end)(Bare())
    with pytest.raises(JobFailed, match=r"the filter Bare of the task 'train' .* without current_round"):
        recipe.execute(project.env())


class OwnMean(Aggregator):
    """A user's mean of whole models."""

    def __init__(self, result=None):
        self.given = result
        self.reset()

    def reset(self):
        self.all = []

    def add(self, reply):
        self.all.append(np.array(reply.model.params["numpy_key"]))

    def result(self):
        return FLModel(params={"numpy_key": np.mean(self.all, axis=0)}) if self.given is None else self.given


@pytest.mark.parametrize(("transfer", "count"), [("FULL", 0), ("DIFF", 1)])
def test_an_aggregator_that_mistakes_differences_for_models_is_a_warning(project, transfer, count):
    run = run_with(
        project,
        send("values + number"),
        num_rounds=2,
        initial_model=np.full(2, 10.0),
        aggregator=OwnMean(),
        params_transfer_type=transfer,
    )
    texts = [text for text in warnings_of(run) if "OwnMean.result() returned a whole model" in text]
    assert len(texts) == count


@pytest.mark.parametrize("result", [FLModel(params={}), FLModel(metrics={}), {"numpy_key": np.zeros(2)}])
def test_an_aggregator_that_returns_nothing_ends_the_run(project, result):
    run = run_with(project, send("values + number"), aggregator=OwnMean(result))
    with pytest.raises(JobFailed, match=r"OwnMean.result\(\) returned a (model without params|dict)"):
        run.get_result()


@pytest.mark.parametrize("value", ["'0.9'", "None", "[0.9]", "{'top1': 0.9}", "1j", "np.complex128(1)", "np.ones(2)"])
def test_a_non_numeric_key_metric_is_a_warning(project, value):
    run = run_with(project, send("values + 1", f', metrics={{"accuracy": {value}}}'), num_rounds=2)
    texts = warnings_of(run)
    assert any("metric 'accuracy' is " in text and "not a number" in text for text in texts)
    assert run.summary()["best"] is None


@pytest.mark.parametrize("value", ["np.float32(0.5)", "np.array([0.5])", "np.array(0.5)"])
def test_numbers_in_an_array_of_one_count(project, value):
    run = run_with(project, send("values + 1", f', metrics={{"accuracy": {value}}}'))
    assert (run.summary()["best"], warnings_of(run)) == ({"round": 0, "value": 0.5}, [])


def test_names_that_are_not_text_are_refused_where_they_are_sent(project):
    run = run_with(project, send("values + 1", ", metrics={1: 0.5}"))
    with pytest.raises(JobFailed, match="the name of a metric is 1, a int"):
        run.get_result()
    run = run_with(project, "flare.send(flare.FLModel(params={0: values}))")
    with pytest.raises(JobFailed, match="0 cannot be the name of an array"):
        run.get_result()


def test_a_script_that_trains_when_asked_to_evaluate_is_a_warning(project):
    recipe = FedEvalRecipe(
        name="case",
        min_clients=2,
        initial_model=np.zeros(2),
        train_script=project.write(
            "client.py", LOOP.replace("{body}", send("values + 1", ', metrics={"accuracy": 0.5}'))
        ),
    )
    assert "site-1, site-2 sent params for the task 'validate'" in warnings_of(recipe.execute(project.env()))[0]


SUBMIT = """
        if flare.is_train():
            flare.send(flare.FLModel(params={"numpy_key": values + number}))
        elif flare.is_submit_model():
            flare.send(flare.FLModel(params={"numpy_key": np.full(2, 10.0 * number)}{kind}))
        else:
            flare.send(flare.FLModel(metrics={"first": float(values[0])}))
"""


@pytest.mark.parametrize("transfer", ["FULL", "DIFF"])
@pytest.mark.parametrize("external", [False, True])
def test_the_model_submitted_by_a_site_is_the_one_evaluated_by_others(project, transfer, external):
    recipe = project.recipe(
        LOOP.replace("{body}", SUBMIT.replace("{kind}", "")),
        params_transfer_type=transfer,
        launch_external_process=external,
    )
    add_cross_site_evaluation(recipe)
    run = recipe.execute(project.env())
    measured = json.loads((run.get_result() / "server" / "cross_site_evaluation.json").read_text())
    for site in ("site-1", "site-2"):
        assert {name: metrics["first"] for name, metrics in measured[site].items()} == {
            "global": 1.5,
            "site-1": 10.0,
            "site-2": 20.0,
        }


@pytest.mark.parametrize("transfer", ["FULL", "DIFF"])
def test_a_difference_cannot_be_evaluated_by_others(project, transfer):
    recipe = project.recipe(
        LOOP.replace("{body}", SUBMIT.replace("{kind}", ', params_type="DIFF"')), params_transfer_type=transfer
    )
    add_cross_site_evaluation(recipe)
    with pytest.raises(JobFailed, match="site-1 replied to 'submit_model' with a difference"):
        recipe.execute(project.env())


def test_sites_of_one_process_do_not_share_their_settings(project):
    script = """
        import flare_core.client as flare

        flare.init()
        flare.get_config()["steps"]["count"] += 1  # a copy, so nothing happens
        while flare.is_running():
            model = flare.receive()
            params = {"numpy_key": model.params["numpy_key"] + flare.get_config()["steps"]["count"]}
            flare.send(flare.FLModel(params=params))
    """
    recipe = project.recipe(script)
    recipe.add_client_config({"steps": {"count": 10}})
    assert recipe.execute(project.env(num_threads=1)).load_model()["numpy_key"].tolist() == [10.0, 10.0]

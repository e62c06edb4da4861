"""A recipe's setting that does nothing, or the opposite of what its name says, is an error or a warning."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest

from flare_core import Filter, JobFailed, RecipeError, WeightedMean
from flare_recipes_np import FedAvgRecipe

ADD = """
    import flare_core.client as flare

    flare.init()
    number = int(flare.get_site_name()[-1])
    while flare.is_running():
        model = flare.receive()
        params = {key: value + number for key, value in model.params.items()}
        flare.send(flare.FLModel(params=params, metrics={metrics}))
"""


def run_with(project, metrics="None", **arguments):
    recipe = project.recipe(ADD.replace("{metrics}", metrics), **arguments)
    return recipe.execute(project.env(), raise_on_failure=False)


@pytest.mark.parametrize(
    ("metrics", "arguments", "message"),
    [
        (
            '{"loss": 1.0}',
            {"key_metric": "loss"},
            "key_metric_mode='max' means that higher values of 'loss' are better",
        ),
        ('{"valLoss": 1.0}', {"key_metric": "valLoss"}, "means that higher values of 'valLoss' are better"),
        ('{"accuracy": 1.0}', {"key_metric_mode": "min"}, "means that lower values of 'accuracy' are better"),
        (
            '{"accuracy": 1.0}',
            {"stop_cond": "loss > 0.3"},
            "stop_cond with > means that higher values of 'loss' are better",
        ),
        ("None", {"key_metric": "auc"}, "no site ever reported the metric 'auc'"),
        ("None", {"patience": 1}, "no site ever reported the metric 'accuracy'"),
        (
            '{"val": {"accuracy": 1.0}}',
            {},
            "no site ever reported the metric 'accuracy' (reported: none; not numbers: val)",
        ),
        ("None", {"exclude_vars": "bias"}, "exclude_vars has 'bias', which excludes nothing; the model's keys are"),
        ("None", {"exclude_vars": ["numpy_key2"]}, "exclude_vars has 'numpy_key2', which excludes nothing"),
        ("None", {"clients_per_round": 3}, "clients_per_round is 3, but the run has 2 sites"),
        ("None", {"initial_model": np.zeros(2, np.int64)}, "the model holds only integers, so every mean is rounded"),
        ("None", {"quorum": 3}, "quorum is 3, but the run has 2 sites"),
    ],
)
def test_the_summary_warns_of_it(project, metrics, arguments, message):
    run = run_with(project, metrics, num_rounds=2, **arguments)
    assert any(message in text for text in run.summary()["warnings"])


@pytest.mark.parametrize(
    ("metrics", "arguments"),
    [
        ("None", {}),
        ('{"loss": 1.0}', {"key_metric": "loss", "key_metric_mode": "min", "stop_cond": "loss < 0.1"}),
        ('{"accuracy": 1.0}', {"stop_cond": "accuracy >= 2", "patience": 5}),
        ("None", {"exclude_vars": "head", "initial_model": {"body": np.zeros(1), "head.weight": np.zeros(1)}}),
        ("None", {"clients_per_round": 2, "quorum": 2, "key_metric": None}),
    ],
)
def test_the_summary_warns_of_nothing_else(project, metrics, arguments):
    assert run_with(project, metrics, num_rounds=2, **arguments).summary()["warnings"] == []


def test_excluding_everything_ends_the_run_before_training(project):
    run = run_with(project, exclude_vars=".*key")
    with pytest.raises(JobFailed, match="excludes all 1 keys of the model"):
        run.get_result()
    assert run.summary()["rounds"] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"exclude_vars": ""}, "exclude_vars is ''"),
        ({"key_metric": ""}, "key_metric is ''"),
        ({"key_metric": 3}, "key_metric is 3"),
        ({"stop_cond": "accuracy >= nan"}, "stop_cond is 'accuracy >= nan'"),
        ({"stop_cond": "loss < inf"}, "stop_cond is 'loss < inf'"),
        ({"per_site_config": {"site-1": {"config": {"executors": []}}}}, "config has the name 'executors'"),
        (
            {"per_site_config": {"site-1": {"config": {"task_result_filter": []}}}},
            "too similar to the reserved 'task_result_filters'",
        ),
        ({"per_site_config": {"site-1": {"config": {"a": {1, 2}}}}}, "which has no JSON form"),
        ({"initial_model": np.ma.masked_array([1.0, 2.0], [True, False])}, "is a masked array"),
        ({"initial_model": {0: np.zeros(1)}}, "0 cannot be the name of an array"),
        (
            {"initial_model": {"__metadata__": np.zeros(1), "a": np.zeros(1)}},
            "'__metadata__', which safetensors reserves",
        ),
    ],
)
def test_impossible_settings_are_refused_when_the_recipe_is_created(project, arguments, message):
    with pytest.raises(Exception, match=message):
        project.recipe(**arguments)


@pytest.mark.parametrize("name", ["num_rounds", "initial_model", "train_args", "key_metric", "num_round"])
def test_an_argument_cannot_be_changed_after_the_recipe_is_created(project, name):
    recipe = project.recipe()
    with pytest.raises(RecipeError, match=f"{name} cannot be set on an existing FedAvgRecipe"):
        setattr(recipe, name, 4)


def test_a_subclass_changes_a_default_or_an_error_says_how(project):
    class Plain(FedAvgRecipe):
        num_rounds = 3

    @dataclass(kw_only=True)
    class Longer(FedAvgRecipe):
        num_rounds: int = 3

    script = project.write("client.py", ADD.replace("{metrics}", "None"))
    arguments = {"min_clients": 2, "initial_model": np.zeros(1), "train_script": script}
    with pytest.raises(RecipeError, match="Plain sets num_rounds but is not a dataclass"):
        Plain(**arguments)
    assert Longer(**arguments).execute(project.env()).summary()["rounds"] == 3


class Scaled(Filter):
    def __init__(self, factor=1.0):
        self.factor = factor

    def process(self, model, context):
        return replace(model, params={key: value * self.factor for key, value in model.params.items()})


@pytest.mark.parametrize(
    "add",
    ["add_client_input_filter", "add_client_output_filter", "add_server_input_filter", "add_server_output_filter"],
)
def test_a_filter_for_a_task_that_is_never_given_is_refused(project, add):
    recipe = project.recipe()
    getattr(recipe, add)(Scaled(), tasks=["train", "evaluate"])
    with pytest.raises(RecipeError, match="a filter applies to the task 'evaluate', which does not exist"):
        recipe.execute(project.env())


def test_changing_an_argument_later_does_not_change_the_recipe(project):
    mean, scaled, settings = WeightedMean(site_weights={"site-1": 3.0}), Scaled(1.0), {"lr": {"first": 1}}
    recipe = project.recipe(
        ADD.replace("{metrics}", '{"lr": flare.get_config().get("lr", {}).get("first", 0)}'),
        aggregator=mean,
        per_site_config={"site-1": {"config": settings}},
    )
    recipe.add_client_output_filter(scaled)
    mean.site_weights["site-1"], scaled.factor, settings["lr"]["first"] = 0.0, 100.0, 5
    run = recipe.execute(project.env())
    assert run.load_model()["numpy_key"].tolist() == [1.25, 1.25]
    assert {row["value"] for row in run.metrics() if row["site"] == "site-1"} == {1}


AGGREGATOR = """
    from flare_core import WeightedMean

    class OnlyFirst(WeightedMean):
        def weight(self, reply):
            return {weight} if reply.site == "site-1" else 1.0
"""


def test_a_module_edited_between_two_runs_of_a_process_is_not_used_in_its_old_version(project, monkeypatch):
    monkeypatch.syspath_prepend(project.folder)

    def run(weight):
        project.write("my_aggregator.py", AGGREGATOR.replace("{weight}", str(weight)))
        script = ADD.replace("{metrics}", "None")
        recipe = project.recipe(script, aggregator={"class_path": "my_aggregator.OnlyFirst"})
        return recipe.execute(project.env()).load_model()["numpy_key"].tolist()

    assert run(1.0) == [1.5, 1.5]
    with pytest.raises(RecipeError, match=r"my_aggregator\.py was changed after this process imported it"):
        run(3)  # a file of another size, or Python may reuse the old bytecode
    importlib.reload(sys.modules["my_aggregator"])
    assert run(3) == [1.25, 1.25]

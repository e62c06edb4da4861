"""Recipes: checks of arguments, filters, and that a recipe never changes."""

from __future__ import annotations

import pytest

from flare_core import Filter, ModelTypeError, RecipeError
from flare_core.recipe import check_args
from flare_core.recipes.fedavg import BaseFedAvgRecipe
from flare_core.testing import RecipeConformance


class PlainRecipe(BaseFedAvgRecipe):
    """A recipe without a framework, whose initial model is text."""

    framework = "numpy"
    persistor = "flare_core.WeightedMean"

    def _write_initial(self, model, checkpoint, target):
        target.write_text(f"{model} {checkpoint and checkpoint.read_text()}")


class Passing(Filter):
    def process(self, model, context):
        return model


@pytest.fixture
def recipe_with(tmp_path):
    script = tmp_path / "client.py"
    script.write_text("import helper\n")
    (tmp_path / "helper.py").write_text("")
    (tmp_path / "other.py").write_text("")

    def make(**changes):
        values = {"min_clients": 2, "initial_model": "m", "train_script": script}
        return PlainRecipe(**{**values, **changes})

    return make


class TestPlainRecipe(RecipeConformance):
    @pytest.fixture(autouse=True)
    def _recipe_with(self, recipe_with):
        self.recipe_with = recipe_with

    def make(self, folder):
        return self.recipe_with(name="demo", seed=3, per_site_config={"site-1": {"train_args": "x"}})


def executor_args(job, site="site-1"):
    return job.client_app(site).executors[0].executor.args


def test_the_job_reflects_the_arguments(recipe_with):
    job = recipe_with(name="demo", num_rounds=4, train_args="--lr 0.1", seed=3).job()
    assert (job.name, job.min_clients, job.seed) == ("demo", 2, 3)
    assert job.server.workflows[0].args["num_rounds"] == 4
    assert executor_args(job)["args"] == ["--lr", "0.1"]
    assert [str(place) for place in job.code.files] == ["client.py", "helper.py"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"min_clients": 0}, "min_clients is 0"),
        ({"num_rounds": 0}, "num_rounds is 0"),
        ({"num_rounds": 1.5}, "num_rounds is 1.5"),
        ({"num_rounds": True}, "num_rounds is True"),
        ({"name": "a/b"}, "name is 'a/b'"),
        ({"seed": -1}, "seed is -1"),
        ({"patience": 0}, "patience is 0"),
        ({"stop_cond": "accuracy"}, "stop_cond is 'accuracy'"),
        ({"key_metric_mode": "up"}, "key_metric_mode is 'up'"),
        ({"train_script": "nowhere.py"}, "train_script 'nowhere.py' does not exist"),
        ({"train_script": None}, "train_script is None; give the path"),
        ({"train_args": "--x 'open"}, "close the quotes"),
        ({"train_args": 5}, "train_args is 5"),
        ({"command": ""}, "command is empty"),
        ({"params_transfer_type": "HALF"}, "params_transfer_type is 'HALF'"),
        ({"launch_external_process": "yes"}, "launch_external_process is 'yes'"),
        ({"exclude_vars": "("}, r"exclude_vars is '\('"),
        ({"aggregation_weights": {"site-1": -1}}, "site-1: its entry in aggregation_weights is -1"),
        ({"aggregation_weights": {"@ALL": 1}}, "has the reserved name '@ALL'"),
        ({"aggregator": Passing()}, "aggregator is a Passing"),
        ({"aggregator": {"class_path": "no.such.Thing"}}, "cannot import"),
        ({"initial_model": None}, "give initial_model or initial_ckpt"),
        ({"initial_ckpt": "nowhere.pt"}, "initial_ckpt 'nowhere.pt' does not exist"),
        ({"per_site_config": {"server": {}}}, "has the reserved name 'server'"),
        ({"per_site_config": {"@ALL": {}}}, "has the reserved name '@ALL'"),
        ({"per_site_config": {"site 1": {}}}, "a site in per_site_config is 'site 1'"),
        ({"per_site_config": {"site-1": 5}}, r"per_site_config\['site-1'\]: is a int"),
        (
            {"per_site_config": {"site-1": {"train_arg": ""}}},
            "unknown setting 'train_arg'; known settings are train_script",
        ),
        ({"per_site_config": {"site-1": {"train_script": "x.py"}}}, r"per_site_config\['site-1'\]: train_script"),
    ],
)
def test_unusable_arguments_are_rejected_at_construction(recipe_with, changes, message):
    with pytest.raises(RecipeError, match=message):
        recipe_with(**changes)


def test_falsy_values_of_a_site_replace_the_recipes_and_none_does_not(recipe_with):
    job = recipe_with(
        train_args="--lr 0.1",
        launch_external_process=True,
        per_site_config={
            "site-1": {"train_args": "", "launch_external_process": False, "config": {"lr": 0}},
            "site-2": {"train_args": None},
        },
    ).job()
    assert executor_args(job, "site-1")["args"] == []
    assert executor_args(job, "site-1")["launch_external_process"] is False
    assert job.client_app("site-1").config == {"lr": 0}
    assert executor_args(job, "site-2")["args"] == ["--lr", "0.1"]
    assert executor_args(job, "site-3")["launch_external_process"] is True


def test_scripts_of_the_same_name_do_not_mix(recipe_with, tmp_path_factory):
    other = tmp_path_factory.mktemp("other") / "client.py"
    other.write_text("import helper\n")
    job = recipe_with(per_site_config={"site-2": {"train_script": other}}).job()
    assert job.client_code("site-1").locate(executor_args(job, "site-1")["script"]) != other
    assert job.client_code("site-2").locate(executor_args(job, "site-2")["script"]) == other


def test_building_a_job_does_not_change_the_recipe(recipe_with):
    recipe = recipe_with(per_site_config={"site-1": {"train_args": "x"}})
    recipe.add_client_output_filter(Passing(), clients=["site-3"])
    first = recipe.job()
    first.client.executors.clear()
    first.sites.clear()
    second = recipe.job()
    assert set(second.sites) == {"site-1", "site-3"}
    assert second.client.executors


def test_filters_go_to_their_chain(recipe_with):
    recipe = recipe_with()
    recipe.add_server_output_filter(Passing(), tasks=["train"])
    recipe.add_server_input_filter(Passing())
    recipe.add_client_input_filter(Passing())
    recipe.add_client_output_filter(Passing(), clients=["site-2"])
    job = recipe.job()
    assert [entry.tasks for entry in job.server.task_data_filters] == [("train",)]
    assert [entry.tasks for entry in job.server.task_result_filters] == [("*",)]
    assert len(job.client.task_data_filters) == 1
    assert job.client.task_result_filters == []
    assert len(job.sites["site-2"].task_result_filters) == 1
    assert len(job.sites["site-2"].task_data_filters) == 1
    with pytest.raises(RecipeError, match="whose class derives from Filter"):
        recipe.add_server_input_filter(lambda model: model)


def test_later_changes_of_the_initial_model_have_no_effect(recipe_with):
    model = ["before"]
    recipe = recipe_with(initial_model=model)
    model[0] = "after"
    assert "before" in recipe.job().code.locate("initial_model.safetensors").read_text()


def test_the_file_of_the_initial_model_is_deleted_with_the_recipe(recipe_with):
    recipe = recipe_with()
    path = recipe.job().code.locate("initial_model.safetensors")
    assert path.is_file()
    del recipe
    assert not path.exists()


def test_arguments_are_split_as_a_shell_does_and_lists_are_not():
    assert check_args("""--a '{"x": [1, 2]}' --b "a b" --c ~/d --e ''""", "x") == [
        "--a", '{"x": [1, 2]}', "--b", "a b", "--c", "~/d", "--e", ""
    ]  # fmt: skip
    assert check_args(["--a", "b c"], "x") == ["--a", "b c"]


def test_options_of_the_default_aggregator_need_the_default_aggregator(recipe_with):
    with pytest.raises(RecipeError, match="arguments of the default aggregator"):
        recipe_with(aggregator={"class_path": "flare_core.WeightedMean"}, exclude_vars="bn")


def test_the_model_type_error_is_a_type_error():
    assert issubclass(ModelTypeError, TypeError)

"""Additions to a recipe: they are in every job, including one that was exported and loaded."""

from __future__ import annotations

import gc

import pytest

from flare_core import Filter, FLModel, JobError, ObservedRun, Observer, RecipeError, Service
from flare_core.components import Component
from flare_core.job_folder import export_job, load_job
from flare_core.recipes import add_experiment_tracking
from flare_core.recipes.fedavg import BaseFedAvgRecipe
from flare_core.service import components_of


class PlainRecipe(BaseFedAvgRecipe):
    """A recipe without a framework, whose initial model is text."""

    framework = "numpy"
    persistor = "flare_core.WeightedMean"

    def _write_initial(self, model, checkpoint, target):
        target.write_text(str(model))


class Watching(Observer):
    def __init__(self, *, name: str = "a") -> None:
        self.name = name

    def attach(self, run: ObservedRun) -> None:
        """Do nothing."""


class Passing(Filter):
    def process(self, model, context):
        return model


@pytest.fixture
def recipe(tmp_path):
    code = tmp_path / "code"
    code.mkdir()
    (code / "client.py").write_text("import helper\n")
    (code / "helper.py").write_text("")
    return PlainRecipe(name="demo", min_clients=2, initial_model="m", train_script=code / "client.py")


@pytest.fixture
def loaded(tmp_path):
    """Return a recipe's job after export and load."""
    return lambda recipe: load_job(export_job(recipe.job(), tmp_path / "jobs"))


def watching(name: str = "a") -> Component:
    return Component("flare_core.WeightedMean", {"exclude": name})


def test_components_go_to_the_server_to_all_sites_or_to_some(recipe, loaded):
    recipe.add_server_component("one", watching("server"))
    recipe.add_client_component("one", watching("sites"))
    recipe.add_client_component("two", {"class_path": "a.B", "args": {"c": 1}}, clients=["site-2"])
    for job in (recipe.job(), loaded(recipe)):
        assert job.server.components["one"] == watching("server")
        assert job.client_app("site-1").components == {"one": watching("sites")}
        assert job.client_app("site-2").components == {"one": watching("sites"), "two": Component("a.B", {"c": 1})}


@pytest.mark.parametrize(
    ("first", "second"),
    [(None, None), (None, ["site-1"]), (["site-1"], None), (["site-1", "site-2"], ["site-2"])],
)
def test_components_of_one_party_need_different_names(recipe, first, second):
    recipe.add_client_component("one", watching(), clients=first)
    recipe.add_server_component("one", watching())
    with pytest.raises(RecipeError, match="already has a component 'one'"):
        recipe.add_client_component("one", watching(), clients=second)
    recipe.add_client_component("two", watching(), clients=second)


def test_sites_may_have_different_components_of_one_name(recipe):
    for site in ("site-1", "site-2"):
        recipe.add_client_component("one", watching(site), clients=[site])
    job = recipe.job()
    assert job.client_app("site-2").components == {"one": watching("site-2")}
    assert job.client_app("site-3").components == {}


class Serving(Service):
    def start(self, context):
        """Nothing to do."""

    def stop(self):
        """Nothing to do."""


def test_components_are_observers_or_services():
    parts = {"watch": Component.of(Watching(), what="it"), "serve": Component.of(Serving(), what="it")}
    found = components_of({"persistor": Component("no.such.Thing"), **parts})
    assert [type(each) for each in found] == [Watching, Serving]


def test_a_component_of_an_unknown_kind_is_an_error():
    with pytest.raises(JobError, match="the component 'mean' is a WeightedMean, which is neither"):
        components_of({"mean": Component("flare_core.WeightedMean")})


def test_settings_are_those_of_the_job_and_of_the_sites(recipe, loaded):
    recipe.add_client_config({"lr": 0.1, "layers": (1, 2)})
    recipe.add_client_config({"lr": 0.2}, clients=["site-2"])
    recipe.add_server_config({"tries": 3})
    for job in (recipe.job(), loaded(recipe)):
        assert job.client_app("site-1").config == {"lr": 0.1, "layers": [1, 2]}
        assert job.client_app("site-2").config == {"lr": 0.2, "layers": [1, 2]}
        assert job.server.config == {"tries": 3}


def test_added_files_are_next_to_the_script_at_their_sites(recipe, loaded, tmp_path):
    for name in ("all.csv", "some.csv", "server.csv"):
        (tmp_path / name).write_text(name)
    recipe.add_client_file(str(tmp_path / "some.csv"), clients=["site-2"])
    recipe.add_client_file(tmp_path / "all.csv")
    recipe.add_server_file(tmp_path / "server.csv")
    for job in (recipe.job(), loaded(recipe)):
        gc.collect()  # the job keeps the files alive, not the call of the recipe
        code = ["all.csv", "client.py", "helper.py"]
        others = [str(place) for place in job.code.files if str(place) != "initial_model.safetensors"]
        assert others == sorted([*code, "server.csv"])
        assert [str(place) for place in job.client_code("site-2").files] == sorted([*code, "some.csv"])
        assert job.meta["server_files"] == ["initial_model.safetensors", "server.csv"]
        for name in ("client.py", "all.csv", "server.csv"):
            assert (job.code.root / name).is_file()
        assert (job.client_code("site-2").root / "some.csv").read_text() == "some.csv"


def test_the_path_of_a_file_is_relative_to_the_caller(recipe):
    recipe.add_client_file("test_additions.py")
    assert (recipe.job().code.root / "test_additions.py").is_file()


def test_a_file_does_not_replace_another_of_the_same_name(recipe, tmp_path):
    (tmp_path / "helper.py").write_text("another")
    recipe.add_client_file(tmp_path / "helper.py")
    with pytest.raises(RecipeError, match=r"already has a file 'helper\.py'"):
        recipe.job()


def test_the_job_lists_the_types_to_register(recipe, loaded):
    recipe.add_decomposers(["shapes.Point", FLModel])
    recipe.add_decomposers([add_experiment_tracking])
    for job in (recipe.job(), loaded(recipe)):
        assert job.meta["decomposers"] == [
            "shapes.Point",
            "flare_core.model.FLModel",
            "flare_core.recipes.tracking.add_experiment_tracking",
        ]


def test_additions_do_not_accumulate_over_jobs(recipe, tmp_path):
    (tmp_path / "all.csv").write_text("")
    recipe.add_client_file(tmp_path / "all.csv")
    recipe.add_server_output_filter(Passing())
    recipe.add_decomposers(["shapes.Point"])
    recipe.job()
    job = recipe.job()
    assert len(job.server.task_data_filters) == 1
    assert job.meta["decomposers"] == ["shapes.Point"]
    assert job.meta["server_files"] == ["initial_model.safetensors"]


@pytest.mark.parametrize(
    ("add", "message"),
    [
        (
            lambda recipe: recipe.add_server_component("persistor", watching()),
            "the server already has a component 'persistor'",
        ),
        (lambda recipe: recipe.add_server_component("", watching()), "the id of a component is ''"),
        (lambda recipe: recipe.add_server_component("one", Watching), "is the class Watching itself"),
        (lambda recipe: recipe.add_client_config(["lr"]), r"config is \['lr'\]; give a dict"),
        (lambda recipe: recipe.add_client_config({"executors": []}), "the name 'executors', which"),
        (lambda recipe: recipe.add_server_config({"workflows": []}), "the name 'workflows', which"),
        (lambda recipe: recipe.add_server_config({"a": {1, 2}}), "which has no JSON form"),
        (lambda recipe: recipe.add_client_config({}, clients="site-1"), "clients is the string 'site-1'"),
        (lambda recipe: recipe.add_client_config({}, clients=["server"]), "clients has the reserved name 'server'"),
        (lambda recipe: recipe.add_client_config({}, clients=["a b"]), "a site in clients is 'a b'"),
        (lambda recipe: recipe.add_client_file(5), "path is 5; give the path"),
        (lambda recipe: recipe.add_server_file("nowhere.csv"), r"there is no file .*nowhere\.csv"),
        (lambda recipe: recipe.add_decomposers("a.B"), "decomposers is 'a.B'; give a list"),
        (lambda recipe: recipe.add_decomposers(["Point"]), "a decomposer is 'Point'"),
        (lambda recipe: recipe.add_decomposers([3]), "a decomposer is 3"),
        (lambda recipe: recipe.add_decomposers(["__main__.Point"]), "defined in the launching script"),
    ],
)
def test_unusable_additions_are_rejected_immediately(recipe, add, message):
    with pytest.raises(RecipeError, match=message):
        add(recipe)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tracking_type": "tensorflow"}, "tracking_type is 'tensorflow'"),
        ({"tracking_type": "TensorBoard"}, "tracking_type is 'TensorBoard'"),
        ({"tracking_type": "mlflow", "server_side": False}, "both False"),
    ],
)
def test_unusable_tracking_settings_are_rejected(recipe, arguments, message):
    with pytest.raises(RecipeError, match=message):
        add_experiment_tracking(recipe, **arguments)

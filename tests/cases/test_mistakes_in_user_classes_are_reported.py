"""A user's class that returns nothing, or raises, is named with the place where it runs."""

from __future__ import annotations

import pytest

from flare_core import Aggregator, Evaluator, Filter, JobError, JobFailed, Observer, TensorFilter
from flare_core.events import RoundEnded
from flare_runtime import list_runs


class Forgets(Filter):
    """Has no return."""

    def process(self, model, context):
        pass


class ReturnsParams(Filter):
    """Returns something other than a model."""

    def process(self, model, context):
        return model.params


class RaisesKey(Filter):
    """Looks up a missing key."""

    def process(self, model, context):
        return {}["w"]


class ForgetsTensor(TensorFilter):
    """Has no return."""

    def process_tensor(self, key, array, context):
        pass


class NoResult(Aggregator):
    """Has no return."""

    def add(self, reply):
        pass

    def result(self):
        pass

    def reset(self):
        pass


class Divides(Evaluator):
    """Raises."""

    def evaluate(self, model):
        return {"accuracy": {}["acc"]}


class RaisesLater(Observer):
    """Raises when a round has ended."""

    def attach(self, run):
        run.events.subscribe(RoundEnded, self.look)

    def look(self, event):
        raise ValueError("no such column")


class RaisesAtOnce(Observer):
    """Raises when the run begins."""

    def attach(self, run):
        raise ValueError("no such table")


def failure(project, recipe) -> str:
    with pytest.raises(JobFailed) as raised:
        recipe.execute(project.env())
    return str(raised.value)


CHAINS = {
    "client_input": r"of the task 'train' at site-\d",
    "client_output": r"of the result 'train' at site-\d",
    "server_input": r"of the result 'train' at the server, applied to the reply of site-1,",
    "server_output": r"of the task 'train' at the server",
}


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize(
    ("filter_", "what"),
    [
        (Forgets, r"returned None; its process\(\) must return the transformed FLModel"),
        (ReturnsParams, r"returned a .*; its process\(\) must return the transformed FLModel"),
        (RaisesKey, r"raised KeyError: 'w'"),
        (ForgetsTensor, r"returned None for 'numpy_key'; its process_tensor\(\) must return an array"),
    ],
)
def test_a_filter_is_named_with_what_it_filters(project, chain, filter_, what):
    recipe = project.recipe()
    getattr(recipe, f"add_{chain}_filter")(filter_())
    with pytest.raises(JobFailed, match=rf"the filter {filter_.__name__} {CHAINS[chain]} {what}"):
        recipe.execute(project.env())


def test_an_aggregator_without_a_result_is_named(project):
    assert "NoResult.result() returned a NoneType; return FLModel(params=...)" in failure(
        project, project.recipe(aggregator=NoResult())
    )


def test_an_error_in_the_servers_own_code_is_reported_with_its_place_and_traceback(project):
    said = failure(project, project.recipe(evaluator=Divides()))
    assert said.startswith(
        "KeyError: 'acc', in Divides.evaluate at the server (test_mistakes_in_user_classes_are_reported.py,"
    )
    assert 'return {"accuracy": {}["acc"]}' in said
    recipe = project.recipe()
    recipe.add_server_component("watch", RaisesLater())
    said = failure(project, recipe)
    assert said.startswith("ValueError: no such column, in RaisesLater.look at the server")
    assert list_runs(project.folder / "runs")[0].error.startswith("ValueError: no such column, in RaisesLater.look")


def test_an_error_in_a_server_filter_is_reported_with_its_traceback(project):
    recipe = project.recipe()
    recipe.add_server_input_filter(RaisesKey())
    assert 'return {}["w"]' in failure(project, recipe)


def test_an_observer_that_cannot_start_ends_the_run_and_nothing_waits(project):
    recipe = project.recipe()
    recipe.add_server_component("watch", RaisesAtOnce())
    with pytest.raises(JobError, match="the observer RaisesAtOnce at the server raised ValueError: no such table"):
        recipe.execute(project.env())
    (found,) = list_runs(project.folder / "runs")
    assert found.status == "failed"
    assert "RaisesAtOnce" in found.error


def test_an_observer_that_cannot_start_at_a_site_is_named_and_not_the_script(project):
    recipe = project.recipe()
    recipe.add_client_component("watch", RaisesAtOnce(), clients=["site-2"])
    said = failure(project, recipe)
    assert "the observer RaisesAtOnce at site-2 raised ValueError: no such table" in said
    assert "its script" not in said

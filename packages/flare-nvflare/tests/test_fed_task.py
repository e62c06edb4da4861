"""Tasks that sites do once, without a model."""

import json
import textwrap

import pytest

from flare_core import JobFailed, RecipeError
from nvflare.recipe import FedTaskRecipe, SimEnv

SCRIPT = """
    import json
    import pathlib
    import sys

    import nvflare.client as flare

    flare.init()
    while flare.is_running():
        given = flare.receive()
        seen = [flare.get_task_name(), given.params, given.meta["unit"], given.current_round, given.total_rounds]
        pathlib.Path(sys.argv[1], flare.get_site_name()).write_text(json.dumps(seen))
        flare.send(flare.FLModel(metrics={"num_sequences": 3}, meta={"shapes": [2, 3]}))
    """


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "client.py"
    path.write_text(textwrap.dedent(SCRIPT))
    return str(path)


def recipe_of(script, tmp_path, **arguments):
    given = {"task_data": {"size": 8}, "task_meta": {"unit": "mm"}, "min_clients": 2}
    return FedTaskRecipe(
        task_name="embed", task_script=script, task_args=f"{tmp_path}", name="embeddings", **{**given, **arguments}
    )


def test_each_site_does_the_task_once_with_the_data_of_the_server(script, tmp_path):
    run = recipe_of(script, tmp_path).execute(SimEnv(num_clients=2, workspace_root=str(tmp_path / "runs")))
    assert run.get_status() == "FINISHED:COMPLETED"
    for site in ("site-1", "site-2"):
        assert json.loads((tmp_path / site).read_text()) == ["embed", {"size": 8}, "mm", 0, 1]


def test_some_of_the_sites_can_be_drawn(script, tmp_path):
    recipe_of(script, tmp_path, num_clients=1).execute(SimEnv(num_clients=2, workspace_root=str(tmp_path / "runs")))
    assert sum((tmp_path / site).exists() for site in ("site-1", "site-2")) == 1


def test_more_answers_than_sites_are_refused(script, tmp_path):
    with pytest.raises(RecipeError, match="num_clients is 1"):
        recipe_of(script, tmp_path, num_clients=1, min_responses=2)
    with pytest.raises(RecipeError, match="min_responses is 0"):
        recipe_of(script, tmp_path, min_responses=0)
    recipe = recipe_of(script, tmp_path, min_responses=3)
    with pytest.raises(JobFailed, match="2 sites get the task 'embed'"):
        recipe.execute(SimEnv(num_clients=2, workspace_root=str(tmp_path / "runs")))

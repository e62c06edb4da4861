"""C24: a recipe is the same after every run; falsy values count; impossible settings are refused with a hint."""

from __future__ import annotations

import numpy as np
import pytest

from flare_core import ModelTypeError, RecipeError, WeightedMean
from flare_runtime import SimEnv

NOISY = """
    import random, sys
    import numpy as np
    import flare_core.client as flare

    flare.init()
    while flare.is_running():
        model = flare.receive()
        params = {k: v + np.random.normal(size=v.shape) + random.random() for k, v in model.params.items()}
        metrics = {"argc": len(sys.argv), "lr": flare.get_config().get("lr", -1)}
        flare.send(flare.FLModel(params=params, metrics=metrics))
"""


def test_two_runs_with_an_export_in_between_are_equal(project, tmp_path):
    recipe = project.recipe(NOISY, num_rounds=3, aggregator=WeightedMean())
    first = recipe.execute(project.env())
    recipe.export(tmp_path / "exported")
    second = recipe.execute(project.env())
    assert first.load_model()["numpy_key"].tobytes() == second.load_model()["numpy_key"].tobytes()
    assert first.get_result() != second.get_result()
    assert first.get_result().is_dir()


def test_falsy_values_of_a_site_win(project):
    recipe = project.recipe(
        NOISY,
        train_args="--a 1",
        per_site_config={"site-1": {"train_args": ""}, "site-2": {"config": {"lr": 0}}},
    )
    rows = {(row["site"], row["key"]): row["value"] for row in recipe.execute(project.env()).metrics()}
    assert (rows["site-1", "argc"], rows["site-2", "argc"]) == (1, 3)
    assert (rows["site-1", "lr"], rows["site-2", "lr"]) == (-1, 0)


def test_a_list_of_names_is_enough(project):
    run = project.recipe(min_clients=3).execute(project.env(clients=["north", "south", "east"]))
    assert list(run.summary()["sites"]) == ["north", "south", "east"]


def test_an_initial_checkpoint_is_used_alone_or_with_a_model(project):
    path = project.folder / "start.npz"
    np.savez(path, w=np.full(2, 5.0))
    for model in (None, {"w": np.zeros(2)}):
        run = project.recipe(initial_model=model, initial_ckpt=path).execute(project.env())
        assert run.load_model()["w"].tolist() == [5.0, 5.0]
    with pytest.raises(RecipeError, match=r"does not fit initial_model: only initial_model has 'v'"):
        project.recipe(initial_model={"w": np.zeros(2), "v": np.zeros(1)}, initial_ckpt=path)
    with pytest.raises(RecipeError, match=r"'w' has shape \(2,\) there and \(3,\) here"):
        project.recipe(initial_model={"w": np.zeros(3)}, initial_ckpt=path)


def test_settings_that_do_not_fit_the_environment_are_refused_before_anything_starts(project):
    with pytest.raises(RecipeError, match="needs min_clients=3, but the environment has 2 sites"):
        project.recipe(min_clients=3).execute(project.env(2))
    with pytest.raises(RecipeError, match="the job names the site 'site-9', which does not exist"):
        project.recipe(per_site_config={"site-9": {}}).execute(project.env(2))
    with pytest.raises(RecipeError, match="the job names the site 'site-8'"):
        project.recipe(aggregation_weights={"site-8": 2.0}).execute(project.env(2))
    assert not (project.folder / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give num_clients"),
        ({"num_clients": -1}, "num_clients is -1"),
        ({"num_clients": 2, "clients": ["a"]}, "num_clients is 2, but clients has 1"),
        ({"clients": "site-1"}, "give a list of names"),
        ({"clients": ["a", "a"]}, "names a site twice"),
        ({"clients": ["server"]}, "the name is reserved"),
        ({"clients": ["a/b"]}, "a site's name is 'a/b'"),
        ({"num_clients": 2, "num_threads": 0}, "num_threads is 0"),
        ({"num_clients": 2, "gpu_config": "a"}, "gpu_config is 'a'"),
        ({"num_clients": 2, "gpu_config": "0,,1"}, "gpu_config is '0,,1'"),
        ({"num_clients": 2, "log_config": "loud"}, "log_config is 'loud'"),
    ],
)
def test_an_environment_refuses_impossible_settings(arguments, message):
    with pytest.raises(RecipeError, match=message):
        SimEnv(**arguments)


def test_models_of_other_frameworks_name_the_right_recipe(project):
    torch = pytest.importorskip("torch")
    sklearn = pytest.importorskip("sklearn.linear_model")
    from flare_recipes_pt import FedAvgRecipe

    with pytest.raises(ModelTypeError, match=r"torch.*use flare_recipes_pt\.FedAvgRecipe"):
        project.recipe(initial_model=torch.nn.Linear(1, 1))
    with pytest.raises(ModelTypeError, match=r"sklearn.*use flare_recipes_sklearn\.FedAvgRecipe"):
        project.recipe(initial_model=sklearn.LinearRegression())
    script = project.write("client.py", "")
    for model in (np.zeros(2), {"w": np.zeros(2)}):
        with pytest.raises(ModelTypeError, match=r"use flare_recipes_np\.FedAvgRecipe"):
            FedAvgRecipe(min_clients=1, initial_model=model, train_script=script)
    with pytest.raises(ModelTypeError, match=r"is the class Linear itself; give an object"):
        FedAvgRecipe(min_clients=1, initial_model=torch.nn.Linear, train_script=script)


def test_a_torch_model_may_be_an_object_a_description_or_a_state_dict(project):
    torch = pytest.importorskip("torch")
    from flare_recipes_pt import FedAvgRecipe

    script = project.write(
        "client.py",
        """
        import flare_core.client as flare

        flare.init()
        while flare.is_running():
            flare.send(flare.FLModel(params=flare.receive().params))
        """,
    )
    torch.manual_seed(0)
    net = torch.nn.Linear(2, 3)
    described = {"class_path": "torch.nn.Linear", "args": {"in_features": 2, "out_features": 3}}
    path = project.folder / "start.pt"
    torch.save(net.state_dict(), path)
    for model, checkpoint in ((net, None), (net.state_dict(), None), (None, path), (described, path)):
        recipe = FedAvgRecipe(
            min_clients=1, num_rounds=1, initial_model=model, initial_ckpt=checkpoint, train_script=script
        )
        result = recipe.execute(project.env(1)).load_model()
        assert torch.equal(result["weight"], net.weight)
    with pytest.raises(RecipeError, match="cannot be read as a state dict"):
        FedAvgRecipe(min_clients=1, initial_ckpt=script, train_script=script)
    with pytest.raises(RecipeError, match=r"'no\.such\.Class'"):
        FedAvgRecipe(min_clients=1, initial_model={"class_path": "no.such.Class"}, train_script=script)

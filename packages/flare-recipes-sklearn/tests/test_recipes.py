"""Behaviour that all scikit-learn recipes share."""

from __future__ import annotations

import textwrap

import numpy as np
import pytest
from sklearn.linear_model import SGDRegressor

import flare_recipes_sklearn
from flare_core import ModelTypeError, RecipeError
from flare_core.job_folder import load_job
from flare_recipes_sklearn import FedAvgLrRecipe, FedAvgRecipe, KMeansFedAvgRecipe, SVMFedAvgRecipe
from flare_runtime import SimEnv
from flare_tensor_downloader import read_file

STEPS = """
    import numpy as np
    import flare_core.client as flare
    from flare_recipes_sklearn import get_params, kmeans_step, newton_sums, set_params, svm_step
    from sklearn.linear_model import SGDRegressor

    flare.init()
    rows = np.random.default_rng(int(flare.get_site_name()[-1])).normal(size=(30, 2))
    labels = (rows[:, 0] + 0.5 * rows[:, 1] ** 2 > 0.3).astype(int)
    labels[0] = 1 - labels[0]  # the classes cannot be separated
    step = {step}
    while flare.is_running():
        params = flare.receive().params
        flare.send(flare.FLModel(params=step(params)))
"""

RECIPES = {
    "kmeans": (KMeansFedAvgRecipe, {}, "lambda params: kmeans_step(params, rows)"),
    "newton": (FedAvgLrRecipe, {"num_features": 2}, "lambda params: newton_sums(params['weights'], rows, labels)"),
    "svm": (SVMFedAvgRecipe, {}, "lambda params: svm_step(params, rows, labels, **flare.get_config()['svc'])"),
    "linear": (
        FedAvgRecipe,
        {"initial_model": SGDRegressor(), "num_features": 2},
        "lambda params: get_params(set_params(SGDRegressor(random_state=0), params).partial_fit(rows, labels))",
    ),
}


@pytest.fixture(params=RECIPES)
def recipe(request, tmp_path):
    cls, arguments, step = RECIPES[request.param]
    script = tmp_path / "client.py"
    script.write_text(textwrap.dedent(STEPS).replace("{step}", step))
    return cls(min_clients=2, num_rounds=3, train_script=script, **arguments)


def test_an_exported_job_and_a_second_run_give_the_same_model(recipe, tmp_path):
    env = SimEnv(num_clients=2, workspace_root=tmp_path / "runs")
    models = [recipe.execute(env).load_model() for _ in range(2)]
    models.append(env.deploy(load_job(recipe.export(tmp_path / "exported"))).load_model())
    for model in models[1:]:
        assert model.keys() == models[0].keys()
        for name, value in models[0].items():
            np.testing.assert_array_equal(model[name], value)


def test_a_run_can_start_from_a_saved_model(recipe, tmp_path):
    env = SimEnv(num_clients=2, workspace_root=tmp_path / "runs")
    model = recipe.execute(env).load_model()
    np.savez(tmp_path / "saved.npz", **model)
    arguments = {"num_features": 2} if hasattr(recipe, "num_features") else {}
    following = type(recipe)(
        min_clients=2, num_rounds=1, initial_ckpt=tmp_path / "saved.npz", train_script=recipe.train_script, **arguments
    )
    for name, value in read_file(following._initial_file).items():
        np.testing.assert_array_equal(value, model[name])
    assert following.execute(env).load_model().keys() == model.keys()


def test_the_error_for_a_model_of_another_framework_names_its_package(tmp_path):
    torch = pytest.importorskip("torch")
    (tmp_path / "client.py").write_text("")
    for cls, remedy in (
        (KMeansFedAvgRecipe, "flare_recipes_pt accepts it, but has no KMeansFedAvgRecipe"),
        (FedAvgRecipe, r"use flare_recipes_pt\.FedAvgRecipe"),
    ):
        with pytest.raises(ModelTypeError, match=remedy):
            cls(min_clients=1, initial_model=torch.nn.Linear(2, 2), train_script=tmp_path / "client.py")


def test_the_error_for_an_unfitting_checkpoint_names_file_and_array(tmp_path):
    (tmp_path / "client.py").write_text("")
    np.savez(tmp_path / "saved.npz", weights=np.zeros(9))
    with pytest.raises(RecipeError, match=r"saved.npz does not fit initial_model: 'weights' has shape \(9,\) there"):
        FedAvgLrRecipe(
            min_clients=1,
            num_features=2,
            initial_model=np.zeros(3),
            initial_ckpt=tmp_path / "saved.npz",
            train_script=tmp_path / "client.py",
        )


def test_every_name_in_all_exists():
    assert all(hasattr(flare_recipes_sklearn, name) for name in flare_recipes_sklearn.__all__)

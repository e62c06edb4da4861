"""The error for a model that a recipe cannot take names a recipe that exists, or says that there is none."""

from __future__ import annotations

import importlib
import re
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import SGDClassifier

import flare_recipes_np as np_recipes
import flare_recipes_pt as pt_recipes
import flare_recipes_sklearn as sklearn_recipes
from flare_core import ModelTypeError

EVERY_KIND = [np_recipes.FedAvgRecipe, pt_recipes.ScaffoldRecipe, sklearn_recipes.KMeansFedAvgRecipe]
TORCH, NUMPY, SKLEARN = torch.nn.Linear(1, 1), {"w": np.ones(1)}, SGDClassifier()


def of_package(name: str) -> object:
    """Return an object of a class of a package that is not installed."""
    return types.new_class("Model", exec_body=lambda body: body.update(__module__=f"{name}.core"))()


@pytest.fixture
def refusal(tmp_path):
    """Return the text of the error for a model."""
    (tmp_path / "client.py").write_text("")

    def text(recipe: type, model: object) -> str:
        with pytest.raises(ModelTypeError) as caught:
            recipe(min_clients=1, initial_model=model, train_script=tmp_path / "client.py")
        return str(caught.value)

    return text


@pytest.mark.parametrize("package", ["xgboost", "lightgbm", "catboost", "flax", "onnx", "statsmodels", "pandas"])
@pytest.mark.parametrize("recipe", EVERY_KIND)
def test_a_model_of_a_framework_without_a_recipe(refusal, recipe, package):
    found = refusal(recipe, of_package(package))
    assert f"Flare has no recipe for models of {package}." in found
    assert "flare_xgb" not in found


@pytest.mark.parametrize(
    ("recipe", "model", "remedy"),
    [
        (np_recipes.FedAvgRecipe, TORCH, "use flare_recipes_pt.FedAvgRecipe instead"),
        (np_recipes.FedAvgRecipe, {"w": torch.ones(1)}, "use flare_recipes_pt.FedAvgRecipe instead"),
        (
            sklearn_recipes.KMeansFedAvgRecipe,
            TORCH,
            "flare_recipes_pt accepts it, but has no KMeansFedAvgRecipe: it has ",
        ),
        (pt_recipes.SwarmLearningRecipe, NUMPY, "use flare_recipes_np.SwarmLearningRecipe instead"),
        (pt_recipes.FedAvgRecipe, SKLEARN, "use flare_recipes_sklearn.FedAvgRecipe instead"),
        (pt_recipes.ScaffoldRecipe, SKLEARN, "flare_recipes_sklearn accepts it, but has no ScaffoldRecipe: it has"),
        (pt_recipes.FedAvgRecipe, "model.pt", "give the path of a file as initial_ckpt"),
        (pt_recipes.FedAvgRecipe, Path("model.pt"), "give the path of a file as initial_ckpt"),
    ],
)
def test_a_model_of_another_framework(refusal, recipe, model, remedy):
    found = refusal(recipe, model)
    assert remedy in found
    for package, name in re.findall(r"(flare_\w+)\.(\w+Recipe)", found):
        assert hasattr(importlib.import_module(package), name)
    if remedy.endswith("it has"):
        package, _, names = remedy.partition(" ")[0], None, found.rpartition("it has ")[2]
        module = importlib.import_module(package)
        assert set(names.split(", ")) == {name for name in module.__all__ if name.endswith("Recipe")}


def test_a_value_that_is_not_a_model_gets_no_recommendation_of_the_same_recipe(refusal):
    optimizer = torch.optim.SGD(TORCH.parameters(), lr=0.1)
    assert "use flare_recipes_pt.FedAvgRecipe" not in refusal(pt_recipes.FedAvgRecipe, optimizer)

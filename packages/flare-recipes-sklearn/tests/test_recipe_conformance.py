"""Every recipe for scikit-learn models passes the suite of tests for recipes."""

from __future__ import annotations

import pytest
from sklearn.linear_model import SGDRegressor

from flare_core.testing import RecipeConformance
from flare_recipes_sklearn import FedAvgLrRecipe, FedAvgRecipe, KMeansFedAvgRecipe, SVMFedAvgRecipe

RECIPES = [
    (KMeansFedAvgRecipe, {}),
    (FedAvgLrRecipe, {"num_features": 2}),
    (SVMFedAvgRecipe, {}),
    (FedAvgRecipe, {"initial_model": SGDRegressor(), "num_features": 2}),
]


class TestRecipes(RecipeConformance):
    @pytest.fixture(autouse=True, params=RECIPES)
    def _recipe(self, request):
        self.recipe = request.param

    def make(self, folder):
        script = folder / "client.py"
        script.write_text("import flare_core.client as flare\n")
        cls, arguments = self.recipe
        return cls(min_clients=2, train_script=script, **arguments)

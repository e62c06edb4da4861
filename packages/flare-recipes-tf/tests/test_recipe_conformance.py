"""Every recipe for Keras models passes the suite of tests for recipes."""

from __future__ import annotations

import keras
import pytest

import flare_recipes_tf
from flare_core.testing import RecipeConformance

RECIPES = [
    "CrossSiteEvalRecipe", "CyclicRecipe", "FedAvgRecipe", "FedEvalRecipe", "FedOptRecipe", "ScaffoldRecipe",
    "SwarmLearningRecipe",
]  # fmt: skip


class TestRecipes(RecipeConformance):
    @pytest.fixture(autouse=True, params=RECIPES)
    def _name(self, request):
        self.name = request.param

    def make(self, folder):
        script = folder / "client.py"
        script.write_text("import flare_core.client as flare\n")
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        return getattr(flare_recipes_tf, self.name)(min_clients=2, initial_model=model, train_script=script)

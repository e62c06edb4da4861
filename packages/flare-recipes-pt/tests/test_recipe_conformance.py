"""Every recipe for PyTorch models passes the suite of tests for recipes."""

from __future__ import annotations

import pytest
from torch import nn

import flare_recipes_pt
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
        return getattr(flare_recipes_pt, self.name)(min_clients=2, initial_model=nn.Linear(2, 1), train_script=script)

from __future__ import annotations

from flower_probe import PROBE

from flare_core.testing import RecipeConformance
from flare_flower import FlowerRecipe


class TestFlowerRecipe(RecipeConformance):
    def make(self, folder):
        return FlowerRecipe(min_clients=2, flower_content=PROBE)

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import pytest

from flare_flower import FlowerRecipe
from flare_runtime import SimEnv

with warnings.catch_warnings():  # of packages that flwr imports, about each other
    warnings.simplefilter("ignore")
    import flwr.proto.runtime_pb2  # noqa: F401

sys.path.insert(0, str(Path(__file__).parent))  # for flower_probe.py and plain_flower.py


@pytest.fixture
def simulate(tmp_path):
    """Run a recipe in a simulation, whose folder is the test's own."""

    def run(recipe: FlowerRecipe, sites: int = 2, **options):
        env = SimEnv(num_clients=sites, workspace_root=tmp_path / "runs", **options)
        return recipe.execute(env, raise_on_failure=False)

    return run

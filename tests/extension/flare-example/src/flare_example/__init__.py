"""A package that extends Flare; importing it is recorded, so that tests can tell."""

import os
from pathlib import Path

from flare_example.recipe import PebbleRecipe

__all__ = ["PebbleRecipe"]

if "FLARE_EXAMPLE_IMPORTED" in os.environ:
    Path(os.environ["FLARE_EXAMPLE_IMPORTED"]).touch()

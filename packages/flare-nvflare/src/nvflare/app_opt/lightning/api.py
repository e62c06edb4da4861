"""Lightning trainers that take part in a run."""

from flare_recipes_pt.lightning import patch

__all__ = ["patch"]

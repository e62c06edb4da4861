"""Trainers of Hugging Face that take part in a run."""

from nvflare._flare.names import lazy

__getattr__, __dir__, __all__ = lazy(__name__, {"patch": "flare_recipes_pt.transformers"})

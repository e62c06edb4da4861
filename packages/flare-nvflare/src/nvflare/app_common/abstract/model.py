"""ModelLearnable, the weights of a model with meta data."""

from __future__ import annotations

from typing import Any

from nvflare.apis.dxo import DXO, DataKind
from nvflare.app_common.abstract.learnable import Learnable


class ModelLearnableKey:
    """Names in a ModelLearnable."""

    WEIGHTS = "weights"
    META = "meta"


class ModelLearnable(Learnable):
    """The weights of a model, by name, and meta data."""

    def __init__(self) -> None:
        super().__init__()
        self[ModelLearnableKey.WEIGHTS] = {}
        self[ModelLearnableKey.META] = {}

    def is_empty(self) -> bool:
        """Return True if there are no weights."""
        weights = self.get(ModelLearnableKey.WEIGHTS)
        return weights is None or (hasattr(weights, "__len__") and len(weights) == 0)


def validate_model_learnable(model_learnable: ModelLearnable) -> str:
    """Return what is wrong with a ModelLearnable; an empty string if nothing is."""
    if not isinstance(model_learnable, ModelLearnable):
        return f"a {type(model_learnable).__name__} is no ModelLearnable"
    for key in (ModelLearnableKey.WEIGHTS, ModelLearnableKey.META):
        if key not in model_learnable:
            return f"it has no {key!r}"
    return ""


def make_model_learnable(weights: Any, meta_props: dict[str, Any] | None) -> ModelLearnable:
    """Return a ModelLearnable with these weights and meta data."""
    made = ModelLearnable()
    made[ModelLearnableKey.WEIGHTS] = weights
    made[ModelLearnableKey.META] = {} if meta_props is None else meta_props
    return made


def model_learnable_to_dxo(ml: ModelLearnable) -> DXO:
    """Return the weights and meta data as a DXO.

    Raises:
        ValueError: ``ml`` is not a ModelLearnable, or incomplete.
    """
    if problem := validate_model_learnable(ml):
        raise ValueError(problem)
    return DXO(DataKind.WEIGHTS, ml[ModelLearnableKey.WEIGHTS], ml[ModelLearnableKey.META])

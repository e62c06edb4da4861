"""PTModelPersistenceFormatManager: the form in which PyTorch models are stored."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch

from nvflare.app_common.abstract.model import (
    ModelLearnable,
    ModelLearnableKey,
    make_model_learnable,
    validate_model_learnable,
)
from nvflare.app_common.app_constant import ModelFormat


class PTModelPersistenceFormatManager:
    """Keeps a model in the form in which it is stored: a dict with ``model``, ``train_conf`` and more.

    Args:
        data: such a dict, or the weights alone.
        default_train_conf: ``train_conf`` if the data have none.
        allow_numpy_conversion: arrays outside, tensors in the file; otherwise tensors everywhere.

    Raises:
        TypeError: ``data`` is not a dict.
    """

    PERSISTENCE_KEY_MODEL = "model"
    PERSISTENCE_KEY_TRAIN_CONF = "train_conf"
    PERSISTENCE_KEY_META_PROPS = "meta_props"

    def __init__(
        self, data: Mapping[str, Any], default_train_conf: Any = None, allow_numpy_conversion: bool = True
    ) -> None:
        if not isinstance(data, Mapping):
            raise TypeError(f"the data of a model are a {type(data).__name__}; give a dict")
        has_more = self.PERSISTENCE_KEY_MODEL in data
        self.var_dict: dict[str, Any] = dict(data[self.PERSISTENCE_KEY_MODEL] if has_more else data)
        self.meta: Any = data.get(self.PERSISTENCE_KEY_META_PROPS) if has_more else None
        self.train_conf = (data.get(self.PERSISTENCE_KEY_TRAIN_CONF) if has_more else None) or default_train_conf
        known = (self.PERSISTENCE_KEY_MODEL, self.PERSISTENCE_KEY_META_PROPS, self.PERSISTENCE_KEY_TRAIN_CONF)
        self.other_props = {key: value for key, value in data.items() if key not in known} if has_more else {}
        self._allow_numpy_conversion = allow_numpy_conversion

    def to_model_learnable(self, exclude_vars: Any) -> ModelLearnable:
        """Return the weights, without those whose names a regular expression finds."""
        weights: dict[str, Any] = {}
        for key, value in self.var_dict.items():
            if exclude_vars and exclude_vars.search(key):
                continue
            if self._allow_numpy_conversion and isinstance(value, torch.Tensor):
                value = value.detach().cpu()
                value = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
            weights[key] = value
        return make_model_learnable(weights, self.meta)

    def to_persistence_dict(self) -> dict[str, Any]:
        """Return what is written to the file."""
        made: dict[str, Any] = OrderedDict()
        made[self.PERSISTENCE_KEY_MODEL] = OrderedDict(
            (key, torch.as_tensor(value) if self._allow_numpy_conversion else value)
            for key, value in self.var_dict.items()
        )
        if self.meta:
            made[self.PERSISTENCE_KEY_META_PROPS] = self.meta
        if self.train_conf:
            made[self.PERSISTENCE_KEY_TRAIN_CONF] = self.train_conf
        made.update(self.other_props)
        return made

    def update(self, ml: ModelLearnable) -> None:
        """Take the values of a model; those that it does not have stay.

        Raises:
            ValueError: it is incomplete.
        """
        if problem := validate_model_learnable(ml):
            raise ValueError(problem)
        self.meta = ml.get(ModelLearnableKey.META)
        for key, value in ml[ModelLearnableKey.WEIGHTS].items():
            if key in self.var_dict or not self.var_dict:
                self.var_dict[key] = value
            else:
                self.var_dict.setdefault(key, value)

    def get_persist_model_format(self) -> str:
        """Return the name of the form."""
        return ModelFormat.PT_CHECKPOINT

"""FullModelShareableGenerator: whole models go to the sites; whole models or differences come back."""

from __future__ import annotations

from typing import Any

from nvflare.apis.dxo import DataKind, from_shareable
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.app_common.abstract.model import (
    ModelLearnable,
    ModelLearnableKey,
    make_model_learnable,
    model_learnable_to_dxo,
)
from nvflare.app_common.abstract.shareable_generator import ShareableGenerator
from nvflare.app_common.app_constant import AppConstants


class FullModelShareableGenerator(ShareableGenerator):
    """Sends whole models; takes whole models, or differences, which it adds."""

    def learnable_to_shareable(self, model: Any, fl_ctx: FLContext) -> Shareable:
        """Return the model as what to send."""
        return model_learnable_to_dxo(model).to_shareable()

    def shareable_to_learnable(self, shareable: Shareable, fl_ctx: FLContext) -> Any:
        """Return the model after a result.

        Raises:
            ValueError: the result is neither weights nor their differences, or there is no model to add them to.
        """
        dxo = from_shareable(shareable)
        if dxo.data_kind == DataKind.WEIGHTS:
            return make_model_learnable(dxo.data, dxo.meta)
        if dxo.data_kind != DataKind.WEIGHT_DIFF:
            raise ValueError(f"the result is {dxo.data_kind}; {type(self).__name__} needs WEIGHTS or WEIGHT_DIFF")
        base = fl_ctx.get_prop(AppConstants.GLOBAL_MODEL)
        if not isinstance(base, ModelLearnable):
            raise ValueError("there is no global model to which the differences could be added")
        weights = dict(base[ModelLearnableKey.WEIGHTS])
        for key, change in dxo.data.items():
            weights[key] = weights[key] + change if key in weights else change
        return make_model_learnable(weights, dxo.meta)

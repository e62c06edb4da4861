"""FLModelUtils: conversions of models."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flare_core import FLModel, ParamsType
from nvflare.apis.dxo import DXO, DataKind, from_shareable
from nvflare.apis.fl_constant import FLMetaKey
from nvflare.apis.shareable import Shareable
from nvflare.app_common.abstract.model import ModelLearnable, ModelLearnableKey, make_model_learnable
from nvflare.app_common.app_constant import AppConstants

__all__ = ["FLModelUtils", "ParamsType"]


class FLModelUtils:
    """Conversions of models."""

    @staticmethod
    def to_shareable(fl_model: FLModel) -> Shareable:
        """Return a model as a shareable: params, metrics and meta data in a DXO, rounds in the headers.

        Raises:
            ValueError: this is no model.
        """
        from nvflare._host.wire import shareable_of

        if fl_model is None or not isinstance(fl_model, FLModel):
            raise ValueError(f"a {type(fl_model).__name__} is not an FLModel")
        shareable = shareable_of(replace(fl_model, meta=dict(fl_model.meta)))
        if fl_model.start_round is not None:
            shareable.set_header(AppConstants.START_ROUND, fl_model.start_round)
        return shareable

    @staticmethod
    def from_shareable(shareable: Shareable, fl_ctx: Any = None) -> FLModel:
        """Return the model in a shareable.

        Raises:
            ValueError: there is none.
        """
        model = FLModelUtils.from_dxo(from_shareable(shareable))
        model.current_round = shareable.get_header(AppConstants.CURRENT_ROUND)
        model.total_rounds = shareable.get_header(AppConstants.NUM_ROUNDS)
        model.start_round = shareable.get_header(AppConstants.START_ROUND, model.start_round)
        return model

    @staticmethod
    def to_dxo(fl_model: FLModel) -> DXO:
        """Return a model as a DXO."""
        return from_shareable(FLModelUtils.to_shareable(fl_model))

    @staticmethod
    def from_dxo(dxo: DXO) -> FLModel:
        """Return the model in a DXO.

        Raises:
            ValueError: it holds none.
        """
        meta = dict(dxo.meta)
        metrics = meta.pop(FLMetaKey.INITIAL_METRICS, None)
        if dxo.data_kind == DataKind.METRICS:
            return FLModel(metrics=dxo.data, meta=meta)
        kinds = {DataKind.WEIGHTS: ParamsType.FULL, DataKind.WEIGHT_DIFF: ParamsType.DIFF}
        if dxo.data_kind not in kinds:
            raise ValueError(f"a DXO of the kind {dxo.data_kind} is no model")
        if metrics is not None and not isinstance(metrics, dict):
            metrics = {"value": metrics}
        return FLModel(params_type=kinds[DataKind(dxo.data_kind)], params=dxo.data, metrics=metrics, meta=meta)

    @staticmethod
    def to_model_learnable(fl_model: FLModel) -> ModelLearnable:
        """Return a model as a learnable."""
        return make_model_learnable(fl_model.params, fl_model.meta)

    @staticmethod
    def from_model_learnable(model_learnable: ModelLearnable) -> FLModel:
        """Return the model of a learnable."""
        weights, meta = model_learnable[ModelLearnableKey.WEIGHTS], model_learnable[ModelLearnableKey.META]
        return FLModel(params_type=ParamsType.FULL, params=weights, meta=dict(meta or {}))

    @staticmethod
    def get_meta_prop(model: FLModel, key: str, default: Any = None) -> Any:
        """Return one value of the meta data."""
        return model.meta.get(key, default)

    @staticmethod
    def set_meta_prop(model: FLModel, key: str, value: Any) -> None:
        """Set one value of the meta data."""
        model.meta[key] = value

    @staticmethod
    def get_configs(model: FLModel) -> Any:
        """Return the settings in the meta data."""
        return model.meta.get(FLMetaKey.CONFIGS)

    @staticmethod
    def get_meta_from_shareable(shareable: Shareable) -> Any:
        """Return the meta data of the DXO in a shareable."""
        return from_shareable(shareable).get_meta_props()

    @staticmethod
    def update_model(model: FLModel, model_update: FLModel, replace_meta: bool = True) -> FLModel:
        """Apply an update to a model, and return the model.

        Args:
            model: the model, which is changed.
            model_update: FULL replaces the params, DIFF is added to them.
            replace_meta: replace the meta data; otherwise they are added.
        Raises:
            ValueError: a difference has no model to be added to, or has no type.
        """
        model.meta = dict(model_update.meta) if replace_meta else {**model.meta, **model_update.meta}
        model.metrics = model_update.metrics
        if model_update.params_type is ParamsType.FULL:
            model.params = model_update.params
        elif model_update.params_type is ParamsType.DIFF:
            if not model.params:
                raise ValueError("there is no model to which the differences could be added")
            params = dict(model.params)
            for key, change in (model_update.params or {}).items():
                if key in params:
                    params[key] = params[key] + change
            model.params = params
        elif model_update.params:
            raise ValueError(f"the update's params_type is {model_update.params_type}")
        if model.params is not None and model.params_type is None:
            model.params_type = ParamsType.FULL
        return model

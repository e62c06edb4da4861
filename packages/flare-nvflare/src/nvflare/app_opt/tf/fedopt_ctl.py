"""FedOpt, a controller that takes a step of an optimizer of Keras' along the sites' mean difference.

Source: S. Reddi et al., Adaptive federated optimization, ICLR 2021. Weights that training does not change by gradients,
such as statistics of batches, are means.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from flare_core import FLModel, ParamsType
from flare_core.components import Component
from flare_recipes_tf.optimizer import KerasOptimizer
from nvflare._flare.schedule import KERAS, described_schedule
from nvflare.apis.fl_context import FLContext
from nvflare.app_common.app_event_type import AppEventType
from nvflare.app_common.utils.fl_model_utils import FLModelUtils
from nvflare.app_common.workflows.fedavg import FedAvg
from nvflare.app_opt.tf.model_persistor import TFModelPersistor

_SGD = {"path": "tensorflow.keras.optimizers.SGD", "args": {"learning_rate": 1.0, "momentum": 0.6}}
_COSINE = {
    "path": "tensorflow.keras.optimizers.schedules.CosineDecay",
    "args": {"initial_learning_rate": 1.0, "decay_steps": None, "alpha": 0.9},
}

_AS_IT_IS = {"config_type": "dict"}
"""Keeps a job's folder from describing the optimizer itself, which would be made before the rounds are known."""


class FedOpt(FedAvg):
    """Updates a Keras model with an optimizer at the server, of Flare's own kind.

    Args:
        args, kwargs: of :class:`nvflare.app_common.workflows.fedavg.FedAvg`.
        optimizer_args: ``{"path": "tensorflow.keras.optimizers.SGD", "args": {…}}``.
        lr_scheduler_args: a schedule of the learning rate by round, likewise; ``decay_steps`` is the number of rounds
            if it is None. None for the optimizer's own rate."""

    def __init__(
        self,
        *args: Any,
        optimizer_args: Mapping[str, Any] = _SGD,
        lr_scheduler_args: Mapping[str, Any] | None = _COSINE,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._kept_optimizer: Mapping[str, Any] = {}
        self.optimizer_args = {**optimizer_args, **_AS_IT_IS}
        self.lr_scheduler_args = None if lr_scheduler_args is None else {**lr_scheduler_args, **_AS_IT_IS}

    def get_persist_state(self, fl_ctx: FLContext) -> dict[str, Any]:
        """Return the next round, the model to begin it with, and the state of the optimizer."""
        state = super().get_persist_state(fl_ctx)
        return {**state, "optimizer": self._optimizer.state()} if state else {}

    def restore(self, state_data: dict[str, Any], fl_ctx: FLContext) -> None:
        """Begin with the next round, and with that."""
        super().restore(state_data, fl_ctx)
        self._kept_optimizer = state_data["optimizer"]

    def run(self) -> None:
        """Run the rounds.

        Raises:
            TypeError: there is no model of Keras' to update.
            FlareError: the optimizer or the schedule cannot be made.
        """
        if not isinstance(self.persistor, TFModelPersistor):
            raise TypeError(
                f"FedOpt updates a Keras model, but the persistor is a {type(self.persistor).__name__}; add the model"
                " with job.to_server(TFModel(…))"
            )
        optimizer = Component.of(self.optimizer_args, what="optimizer_args")
        self._optimizer = KerasOptimizer(optimizer.class_path, optimizer.args)
        self._optimizer.restore(self._kept_optimizer)
        described = described_schedule(self.lr_scheduler_args, KERAS, self._optimizer.rate, self.planned[1])
        self._schedule = None if described is None else Component.of(described, what="lr_scheduler_args").build()
        super().run()

    def update_model(self, model: FLModel, aggr_result: FLModel) -> FLModel:
        """Return the model after a step."""
        self.event(AppEventType.BEFORE_SHAREABLE_TO_LEARNABLE)
        before = {key: np.asarray(value) for key, value in (model.params or {}).items()}
        model = FLModelUtils.update_model(model, aggr_result)
        means = {key: np.asarray(value) for key, value in (model.params or {}).items()}
        stepped = {key: before[key] for key in self.persistor.trainable if key in before and key in means}
        gradients = {key: (value - means[key]).astype(value.dtype) for key, value in stepped.items()}
        scale = 1.0 if self._schedule is None else self._schedule(self.current_round - self.planned[0])
        after = self._optimizer.step(stepped, gradients, scale=scale)
        model.params = {**before, **means, **{str(key): value for key, value in after.items()}}
        model.params_type = ParamsType.FULL
        self.set_fl_context(model)
        self.event(AppEventType.AFTER_SHAREABLE_TO_LEARNABLE)
        return model

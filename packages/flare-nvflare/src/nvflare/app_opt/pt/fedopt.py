"""PTFedOptModelShareableGenerator: the server takes a step of an optimizer along the sites' mean difference.

Source: S. Reddi et al., Adaptive federated optimization, ICLR 2021. Buffers, such as statistics of batches, are means.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from flare_recipes_pt.optimizer import TorchOptimizer
from nvflare.apis.dxo import DataKind, from_shareable
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.app_common.abstract.model import ModelLearnable, ModelLearnableKey, make_model_learnable
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.shareablegenerators.full_model_shareable_generator import FullModelShareableGenerator


class PTFedOptModelShareableGenerator(FullModelShareableGenerator):
    """Updates the model with an optimizer of PyTorch, of Flare's own kind.

    Args:
        optimizer_args: ``{"path": "torch.optim.SGD", "args": {"lr": 1.0}}``, which is the default.
        lr_scheduler_args: a schedule of the learning rate, likewise; none by default.
        source_model: the model, or the id of its component.
        device: accepted; a step is taken on the CPU.

    Raises:
        TypeError: an argument is no dict.
    """

    def __init__(
        self,
        optimizer_args: dict[str, Any] | None = None,
        lr_scheduler_args: dict[str, Any] | None = None,
        source_model: Any = "model",
        device: Any = None,
    ) -> None:
        super().__init__()
        for name, value in (("optimizer_args", optimizer_args), ("lr_scheduler_args", lr_scheduler_args)):
            if value is not None and not isinstance(value, dict):
                raise TypeError(f"{name} is {value!r}; give a dict such as {{'path': 'torch.optim.SGD', 'args': …}}")
        self.optimizer_args = optimizer_args or {"path": "torch.optim.SGD", "args": {"lr": 1.0}}
        self.lr_scheduler_args = lr_scheduler_args
        self.source_model = source_model
        self.device = device
        self.optimizer = TorchOptimizer(*_parts(self.optimizer_args))
        self._trainable: set[str] = set()
        self._rates: Any = None
        self._first = 1.0
        self._steps = 0

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Find the model and its trainable parameters.

        Raises:
            TypeError: the model is no module of PyTorch.
        """
        if event_type != EventType.START_RUN:
            return
        model = self.source_model
        if isinstance(model, str):
            model = fl_ctx.get_engine().get_component(model)
        if not isinstance(model, torch.nn.Module):
            raise TypeError(f"source_model {self.source_model!r} is a {type(model).__name__}, no torch.nn.Module")
        self._trainable = {name for name, _ in model.named_parameters()}
        if self.lr_scheduler_args is not None:
            self._rates = self._schedule(fl_ctx)

    def get_persist_state(self, fl_ctx: FLContext) -> dict[str, Any]:
        """Return the state of the optimizer, and how many steps it has taken."""
        return {"optimizer": self.optimizer.state(), "steps": self._steps}

    def restore(self, state_data: dict[str, Any], fl_ctx: FLContext) -> None:
        """Go on with that state."""
        self.optimizer.restore(state_data["optimizer"])
        for _ in range(state_data["steps"] - self._steps):
            self._scale()

    def shareable_to_learnable(self, shareable: Shareable, fl_ctx: FLContext) -> Any:
        """Return the model after a step.

        Raises:
            ValueError: the result holds no differences, or there is no model.
        """
        dxo = from_shareable(shareable)
        if dxo.data_kind != DataKind.WEIGHT_DIFF:
            raise ValueError(
                f"the result is {dxo.data_kind}; {type(self).__name__} needs WEIGHT_DIFF, so let the aggregator expect"
                " that, and the script send differences"
            )
        base = fl_ctx.get_prop(AppConstants.GLOBAL_MODEL)
        if not isinstance(base, ModelLearnable):
            raise ValueError("there is no global model to which the differences could be applied")
        weights = {key: np.asarray(value) for key, value in base[ModelLearnableKey.WEIGHTS].items()}
        changes = {key: np.asarray(value) for key, value in dxo.data.items()}
        stepped = {key: weights[key] for key in weights if key in self._trainable and key in changes}
        gradients = {key: (-changes[key]).astype(stepped[key].dtype) for key in stepped}
        found = {**weights, **self.optimizer.step(stepped, gradients, scale=self._scale())}
        for key in changes.keys() - stepped.keys():
            mean = weights[key] + changes[key]
            found[key] = np.asarray(mean).astype(weights[key].dtype)
        return make_model_learnable(found, dxo.meta)

    def _schedule(self, fl_ctx: FLContext) -> Any:
        """Return a schedule of PyTorch for an optimizer whose only use is its learning rate."""
        path, args = _parts(self.optimizer_args)
        engine = fl_ctx.get_engine()
        trial = engine.build_component({"path": path, "args": {**args, "params": [torch.nn.Parameter(torch.zeros(1))]}})
        self._first = trial.param_groups[0]["lr"]
        path, args = _parts(self.lr_scheduler_args or {})
        return engine.build_component({"path": path, "args": {**args, "optimizer": trial}})

    def _scale(self) -> float:
        """Return the factor of the learning rate in this round, and go on to the next."""
        self._steps += 1
        if self._rates is None:
            return 1.0
        rate = self._rates.optimizer.param_groups[0]["lr"] / self._first
        self._rates.optimizer.step()
        self._rates.step()
        return float(rate)


def _parts(entry: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    path = entry.get("path") or entry.get("class_path")
    if not isinstance(path, str):
        raise TypeError(f"{dict(entry)!r} has no 'path', such as torch.optim.SGD")
    return path, dict(entry.get("args") or {})

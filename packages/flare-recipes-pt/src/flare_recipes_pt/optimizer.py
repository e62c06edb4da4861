"""PyTorch optimizers for the server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from flare_core.model import Key, key_text
from flare_core.optimizers import ServerOptimizer, framework_optimizer
from flare_core.tensor_blocks import Array
from flare_fobs.tensors import to_numpy, to_torch

__all__ = ["TorchOptimizer"]


class TorchOptimizer(ServerOptimizer):
    """A server optimizer that applies a ``torch.optim.Optimizer``.

    Args:
        class_path: the optimizer's class, such as ``torch.optim.AdamW``.
        args: its keyword arguments, without the parameters.
    """

    def __init__(self, class_path: str, args: Mapping[str, Any] | None = None) -> None:
        self.class_path = class_path
        self.args = dict(args or {})
        self._params: dict[Key, torch.nn.Parameter] = {}
        self._optimizer: torch.optim.Optimizer | None = None
        self._restored: Mapping[str, Any] | None = None
        trial = self._create([torch.nn.Parameter(torch.zeros(1))])  # fails now rather than in the first round
        self.is_adaptive = not isinstance(trial, torch.optim.SGD)

    def _create(self, params: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
        optimizer: torch.optim.Optimizer = framework_optimizer(
            self.class_path, torch.optim.Optimizer, self.args, params
        )
        return optimizer

    def step(
        self, params: Mapping[Key, Array], gradients: Mapping[Key, Array], *, scale: float = 1.0
    ) -> dict[Key, Array]:
        if self._optimizer is None:
            self._params = {key: torch.nn.Parameter(to_torch(value).clone()) for key, value in params.items()}
            self._optimizer = self._create(list(self._params.values()))
            if self._restored is not None:
                self._optimizer.load_state_dict(_state_dict(self._restored, self._optimizer))
        with torch.no_grad():
            for key, parameter in self._params.items():
                parameter.copy_(to_torch(params[key]))  # differ only if a round was abandoned after the step
                parameter.grad = torch.from_numpy(np.ascontiguousarray(gradients[key])).to(parameter.dtype)
        groups = self._optimizer.param_groups
        rates = [group["lr"] for group in groups]
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate * scale
        self._optimizer.step()
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate
        self._optimizer.zero_grad()
        return {key: to_numpy(parameter.detach().clone(), key=key_text(key)) for key, parameter in self._params.items()}

    def state(self) -> Mapping[str, Any]:
        if self._optimizer is None:
            return {}
        numbers: dict[str, Any] = {}
        tensors: dict[str, Any] = {}
        for index, values in self._optimizer.state_dict()["state"].items():
            for name, value in values.items():
                if isinstance(value, torch.Tensor):
                    tensors[f"{index}.{name}"] = to_numpy(value.detach().clone(), key=name)
                else:
                    numbers[f"{index}.{name}"] = value
        return {"numbers": numbers, "tensors": tensors}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._restored = state or None


def _state_dict(state: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return the state dict for the optimizer from the result of :meth:`TorchOptimizer.state`."""
    by_index: dict[int, dict[str, Any]] = {}
    for part in ("numbers", "tensors"):
        for name, value in state.get(part, {}).items():
            index, _, slot = name.partition(".")
            by_index.setdefault(int(index), {})[slot] = to_torch(value).clone() if part == "tensors" else value
    return {**optimizer.state_dict(), "state": by_index}

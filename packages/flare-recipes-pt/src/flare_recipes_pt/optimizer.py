"""PyTorch optimizers for the server."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np
import torch

from flare_core.model import Key, key_text
from flare_core.optimizers import ServerOptimizer, framework_optimizer
from flare_core.tensor_blocks import Array
from flare_fobs.tensors import to_numpy, to_torch


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
        self._restored: bytes | None = None
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
                self._optimizer.load_state_dict(torch.load(BytesIO(self._restored), weights_only=True))
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
        content = BytesIO()
        torch.save(self._optimizer.state_dict(), content)
        return {"optimizer": {"state_dict": np.frombuffer(content.getvalue(), np.uint8)}}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._restored = state["optimizer"]["state_dict"].tobytes() if state else None

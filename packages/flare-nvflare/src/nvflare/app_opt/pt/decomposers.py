"""TensorDecomposer: Flare serializes tensors itself."""

from __future__ import annotations

from typing import Any

import torch

from nvflare.fuel.utils.fobs.decomposer import Decomposer


class TensorDecomposer(Decomposer):
    """Does nothing: Flare serializes tensors itself."""

    def supported_type(self) -> type:
        return torch.Tensor

    def decompose(self, target: Any, manager: Any = None) -> Any:
        return target

    def recompose(self, data: Any, manager: Any = None) -> Any:
        return data

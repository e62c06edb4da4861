"""PTFedAvg: averages PyTorch models, and stores them with PyTorch."""

from __future__ import annotations

import warnings
from typing import Any

import torch

from flare_core import FLModel
from flare_fobs.tensors import to_torch
from nvflare.app_common.workflows.fedavg import FedAvg


class PTFedAvg(FedAvg):
    """Averages PyTorch models; the model in its file is a state dict. Arguments are those of :class:`FedAvg`."""

    def save_model_file(self, model: FLModel, filepath: str) -> None:
        """Write a model to a file."""
        params = {key: _tensor(value) for key, value in (model.params or {}).items()}
        torch.save(params, filepath)

    def load_model_file(self, filepath: str) -> FLModel:
        """Read a model from a file."""
        return FLModel(params=torch.load(filepath, map_location="cpu", weights_only=True))


class PTFedAvgEarlyStopping(PTFedAvg):
    """The old name of :class:`PTFedAvg`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        warnings.warn("PTFedAvgEarlyStopping is deprecated; use PTFedAvg", DeprecationWarning, stacklevel=2)
        super().__init__(*args, **kwargs)


def _tensor(value: Any) -> Any:
    return value if isinstance(value, torch.Tensor) else to_torch(value)

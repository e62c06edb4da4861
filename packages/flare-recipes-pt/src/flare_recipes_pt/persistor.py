"""Checkpoints of PyTorch models, as safetensors and as a state dict for ``torch.load(..., weights_only=True)``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from flare_core.files import replacing
from flare_core.model import flatten, unflatten
from flare_fobs.tensors import to_torch
from flare_runtime.run.persistor import SafetensorsPersistor
from flare_tensor_downloader import read_file


class TorchPersistor(SafetensorsPersistor):
    """A persistor that reads the initial model from the job's code and writes ``.pt`` files beside the checkpoints.

    Args:
        initial: path of the safetensors file within the job's code; None starts without params.
    """

    def export(self, checkpoint: Path) -> None:
        """Write the state dict beside the safetensors file, replacing an older one atomically."""
        with replacing(checkpoint.with_suffix(".pt")) as partial:
            torch.save(self._tensors(read_file(checkpoint)), partial)

    def to_framework(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return tensors that own their memory, ready for ``load_state_dict``."""
        return {name: value.clone() for name, value in self._tensors(params).items()}

    def _tensors(self, params: Mapping[str, Any]) -> dict[str, Any]:
        return unflatten({key: to_torch(value) for key, value in flatten(params)})

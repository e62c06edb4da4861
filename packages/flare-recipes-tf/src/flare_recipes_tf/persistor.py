"""Checkpoints of Keras models: besides safetensors, weights that a model takes without Flare."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from flare_runtime.run.persistor import SafetensorsPersistor
from flare_tensor_downloader import read_file

__all__ = ["KerasPersistor"]


class KerasPersistor(SafetensorsPersistor):
    """Reads the initial model from the job's code and writes ``.npz`` files beside the checkpoints.

    A checkpoint holds weights, not the class that they belong to, so it cannot become a ``.keras`` file. The arrays are
    in the order of ``model.get_weights()``::

        model.set_weights(list(np.load("global_model.npz").values()))

    Args:
        initial: the safetensors file's place in the job's code; None starts without params.
    """

    def export(self, checkpoint: Path) -> None:
        """Write the ``.npz`` file beside the safetensors file; it is the whole new one or the whole old one."""
        params = read_file(checkpoint)
        target = checkpoint.with_suffix(".npz")
        partial = target.with_name(f".{target.name}.partial")
        arrays: dict[str, Any] = {key: _known_to_numpy(params[key]) for key in sorted(params, key=_place)}
        with partial.open("wb") as file:
            np.savez(file, **arrays)
        partial.replace(target)

    def to_framework(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return arrays that may be changed, for :func:`flare_recipes_tf.set_params`."""
        return {key: np.array(params[key]) for key in sorted(params, key=_place)}


def _place(key: str) -> int:
    return int(key.partition("/")[0])


def _known_to_numpy(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The array, or its float32 form if its dtype is an addition to numpy's (bfloat16), which its files cannot hold."""
    return array.astype(np.float32) if array.dtype.kind == "V" else array

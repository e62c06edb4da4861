"""Checkpoints of Keras models, as safetensors and as ``.npz`` files for use without Flare."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from flare_core.files import replacing
from flare_runtime.run.persistor import SafetensorsPersistor
from flare_tensor_downloader import read_file


class KerasPersistor(SafetensorsPersistor):
    """A persistor that reads the initial model from the job's code and writes ``.npz`` files beside the checkpoints.

    A checkpoint holds weights but not the model's class, so it cannot become a ``.keras`` file. The arrays are in the
    order of ``model.get_weights()``::

        model.set_weights(list(np.load("global_model.npz").values()))

    Args:
        initial: path of the safetensors file within the job's code; None starts without params.
    """

    def export(self, checkpoint: Path) -> None:
        """Write the ``.npz`` file beside the safetensors file, replacing an older one atomically."""
        params = read_file(checkpoint)
        arrays: dict[str, Any] = {key: _to_numpy_dtype(params[key]) for key in sorted(params, key=_index)}
        with replacing(checkpoint.with_suffix(".npz")) as partial, partial.open("xb") as file:
            np.savez(file, **arrays)

    def to_framework(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return writable arrays for :func:`flare_recipes_tf.set_params`."""
        return {key: np.array(params[key]) for key in sorted(params, key=_index)}


def _index(key: str) -> int:
    return int(key.partition("/")[0])


def _to_numpy_dtype(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Convert dtypes that NumPy's files cannot hold, such as bfloat16, to float32."""
    return array.astype(np.float32) if array.dtype.kind == "V" else array

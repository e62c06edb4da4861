"""The hook by which a ServerApp hands its model to Flare.

    from flare_flower import keep_model
    keep_model(result.arrays)

Two lines after ``result = strategy.start(...)`` make ``run.load_model()`` return the final arrays. Outside of Flare,
as with ``flwr run``, they do nothing.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from flare_tensor_downloader import write_file

MODEL_VARIABLE = "FLARE_FLOWER_MODEL"


def keep_model(arrays: Any) -> bool:
    """Keep a model as the run's global model; a later call replaces it.

    Args:
        arrays: a Flower ``ArrayRecord``, or a mapping of name to array.
    Returns:
        True if it was kept; False outside of a run of Flare.
    """
    path = os.environ.get(MODEL_VARIABLE)
    if path is None:
        return False
    params = {str(name): np.asarray(each.numpy() if hasattr(each, "numpy") else each) for name, each in arrays.items()}
    part = Path(path).with_suffix(".part")
    write_file(part, params)
    part.replace(path)
    return True

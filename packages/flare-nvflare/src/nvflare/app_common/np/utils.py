"""Reading of NumPy models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nvflare.apis.fl_context import FLContext


def load_numpy_model(
    fl_ctx: FLContext,
    logger: Any,
    source_ckpt_file_full_name: str | None,
    model_file_path: str,
    get_fallback_data: Callable[[], Any],
) -> Any:
    """Return the first of: a given checkpoint, the stored model, what ``get_fallback_data`` returns.

    Raises:
        ValueError: the given checkpoint does not exist.
    """
    if source_ckpt_file_full_name:
        if not Path(source_ckpt_file_full_name).is_file():
            raise ValueError(f"the checkpoint {source_ckpt_file_full_name} does not exist here")
        return np.load(source_ckpt_file_full_name)
    if Path(model_file_path).is_file():
        return np.load(model_file_path)
    return get_fallback_data()

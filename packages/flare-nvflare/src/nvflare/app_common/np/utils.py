"""Reading of NumPy models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from flare_core import ModelError
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


def read_stored(path: Path, party: str, remedy: str) -> Any:
    """Return the array in a file that an earlier part of the run should have written.

    Args:
        path: the file.
        party: the server or the site that reads it.
        remedy: a sentence without a full stop, for the message.
    Raises:
        ModelError: there is no such file, or it holds no array.
    """
    if not path.is_file():
        raise ModelError(f"{party} has no model in {path}: {remedy}")
    try:
        return np.load(path)
    except ValueError as error:
        raise ModelError(f"{party} cannot read {path}: {error}; write it with numpy.save()") from error

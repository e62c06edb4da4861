"""Checkpoints and results of the recipes for PyTorch."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from flare_core import RecipeError
from flare_core.code import TemporaryFolder, calling_folder, find_script
from nvflare._flare.layout import Outputs, torch_outputs

_kept: list[TemporaryFolder] = []  # until the process ends, since a job can be executed at any time


def checkpoint(path: Any) -> Any:
    """Return the path of a state dict, given that or a file as NVIDIA FLARE writes it, ``{"model": state dict, …}``.

    Raises:
        RecipeError: there is no such file.
    """
    if path is None or Path(path).suffix == ".safetensors":
        return path
    found = find_script(path, calling_folder(), argument="initial_ckpt")
    try:
        content = torch.load(found, map_location="cpu", weights_only=True)
    except Exception as error:
        raise RecipeError(f"initial_ckpt {found} cannot be read: {type(error).__name__}: {error}") from error
    if not isinstance(content, Mapping) or not isinstance(content.get("model"), Mapping):
        return found
    folder = TemporaryFolder()
    _kept.append(folder)
    plain = folder.folder / "state_dict.pt"
    torch.save(dict(content["model"]), plain)
    return plain


def outputs(given: Mapping[str, Any]) -> Outputs:
    """Return the names of the results, as the arguments of a recipe say.

    Raises:
        RecipeError: the old and the new name of the argument contradict each other.
    """
    new, old = given.get("best_model_filename"), given.get("save_filename")
    if new and old and new != old:
        raise RecipeError(f"best_model_filename is {new!r} and save_filename {old!r}; give only the former")
    if old and not new:
        warnings.warn("save_filename is deprecated; write best_model_filename", DeprecationWarning, stacklevel=3)
    return torch_outputs(best_name=new or old or "best_FL_global_model.pt")

"""Initial models and checkpoints that the NumPy recipes accept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from flare_core import RecipeError
from flare_core.model import OPTIMIZER_PARAMS, flatten, key_text, unflatten
from flare_core.recipe import wrong_model
from flare_core.recipes.initial_model import check_fits
from flare_core.recipes.script import ScriptRecipe
from flare_tensor_downloader import read_file, write_file

NUMPY_KEY = "numpy_key"
"""The key of a single-array model in ``FLModel.params``."""

_ACCEPTED = "a numpy array, a nested list of numbers, or a dict of name to array"


class NumpyModel(ScriptRecipe):
    """``initial_model`` is a dict of name to array, possibly nested, or a single array or nested list of numbers, which
    scripts find in ``params["numpy_key"]``. ``initial_ckpt`` is a ``.npy``, ``.npz`` or ``.safetensors`` file.
    """

    framework = "numpy"
    persistor = "flare_runtime.run.persistor.SafetensorsPersistor"

    def _write_initial(self, model: Any, checkpoint: Path | None, target: Path) -> None:
        params = None if model is None else _to_params(model, self.public_name())
        if checkpoint is not None:
            saved = _read_checkpoint(checkpoint)
            if params is not None:
                check_fits(saved, params, checkpoint)
                dtypes = {key: value.dtype for key, value in flatten(params)}
                saved = unflatten({key: value.astype(dtypes[key], copy=False) for key, value in flatten(saved)})
            params = saved
        write_file(target, params or {})


def _to_params(model: Any, recipe: str) -> dict[str, Any]:
    if isinstance(model, Mapping):
        if isinstance(model.get(OPTIMIZER_PARAMS), Mapping):
            raise RecipeError(
                f"initial_model has a part named {OPTIMIZER_PARAMS!r}, a key that algorithms use for their own arrays;"
                " rename it"
            )
        return unflatten(
            {key: _to_array(value, recipe, f"initial_model['{key_text(key)}']") for key, value in flatten(model)}
        )
    return {NUMPY_KEY: _to_array(model, recipe, "initial_model")}


def _to_array(value: Any, recipe: str, what: str) -> np.ndarray[Any, Any]:
    if isinstance(value, np.ma.MaskedArray):
        raise RecipeError(f"{what} is a masked array, whose mask would be lost; fill it first, as with .filled(0)")
    if isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
    elif isinstance(value, list | tuple | int | float) and not isinstance(value, bool):
        try:
            array = np.asarray(value, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise RecipeError(f"{what} is a list that cannot become an array of numbers: {error}") from None
    else:
        raise wrong_model(value, recipe, _ACCEPTED, what=what)
    if array.dtype.kind in "OSUMm":
        raise RecipeError(f"{what} has dtype {array.dtype}; a model must hold numbers")
    return array


def _read_checkpoint(path: Path) -> dict[str, Any]:
    if path.suffix == ".safetensors":
        return read_file(path)
    if path.suffix in (".npz", ".npy"):
        loaded = np.load(path, allow_pickle=False)
        return {NUMPY_KEY: loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    raise RecipeError(f"initial_ckpt {path} has an unknown file type; give a .safetensors, .npz or .npy file")

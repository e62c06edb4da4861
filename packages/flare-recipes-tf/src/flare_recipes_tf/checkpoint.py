"""Reading of initial checkpoints: ``.keras``, ``.weights.h5`` and ``.safetensors`` files."""

from __future__ import annotations

import re
import tempfile
import zipfile
from pathlib import Path
from typing import IO, Any

import h5py
import keras

from flare_core import RecipeError
from flare_core.recipes.initial_model import check_fits
from flare_recipes_tf.params import get_params, set_params
from flare_tensor_downloader import read_file

_SUFFIXES = (".keras", ".weights.h5", ".safetensors")
_WEIGHTS_IN_KERAS = "model.weights.h5"


def load_whole(path: Path) -> Any:
    """Return the model saved in a ``.keras`` file; code in the file is refused.

    Raises:
        RecipeError: the model cannot be loaded.
    """
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        raise RecipeError(
            f"initial_ckpt {path} cannot be loaded as a model ({type(error).__name__}: {error}); register custom"
            " classes with keras.saving.register_keras_serializable, or also give initial_model"
        ) from error


def read_checkpoint(path: Path, model: Any) -> dict[str, Any]:
    """Return a checkpoint's params by key, checked against ``model`` unless that is None.

    Raises:
        RecipeError: the file type is unknown, the file needs a model, or does not fit it.
    """
    if not path.name.endswith(_SUFFIXES):
        raise RecipeError(f"initial_ckpt {path} has an unknown file type; give a {', '.join(_SUFFIXES)} file")
    if path.suffix == ".safetensors":
        return _check_params(read_file(path), model, path)
    if model is None:
        raise RecipeError(f"initial_ckpt {path} holds only weights; also give the initial_model that they belong to")
    before = get_params(model)
    try:
        model.load_weights(path)
        extra = _names_in(path) - _names_of(model)
        found = get_params(model)
    except Exception as error:
        raise RecipeError(f"initial_ckpt {path} does not fit initial_model: {type(error).__name__}: {error}") from error
    finally:
        set_params(model, before)  # leave the user's model unchanged
    for name in sorted(extra):
        raise RecipeError(f"initial_ckpt {path} does not fit initial_model: only the checkpoint has '{name}'")
    return found


def _check_params(saved: dict[str, Any], model: Any, path: Path) -> dict[str, Any]:
    if model is None:
        for key in saved:
            if not re.match(r"\d+/", key):
                raise RecipeError(
                    f"initial_ckpt {path} has the key {key!r}, which is not a Keras model's key in Flare; write the"
                    " file from flare_recipes_tf.get_params(model)"
                )
        return saved
    params = get_params(model)
    check_fits(saved, params, path)
    return {key: value.astype(params[key].dtype, copy=False) for key, value in saved.items()}


def _names_in(path: Path) -> set[str]:
    """Return the names of a file's arrays, since Keras silently ignores arrays that the model lacks."""
    if path.suffix != ".keras":
        return _arrays(path)
    with zipfile.ZipFile(path) as archive, archive.open(_WEIGHTS_IN_KERAS) as file:
        return _arrays(file)


def _names_of(model: Any) -> set[str]:
    """Return the names that Keras gives to the arrays of ``model`` in a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / _WEIGHTS_IN_KERAS
        model.save_weights(path)
        return _arrays(path)


def _arrays(file: Path | IO[bytes]) -> set[str]:
    names: list[str] = []
    with h5py.File(file, "r") as store:
        store.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    return {name for name in names if not name.startswith(("optimizer/", "_"))}  # training state

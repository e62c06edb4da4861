"""Initial models and checkpoints that the scikit-learn recipes accept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from flare_core import RecipeError
from flare_core.job import ClientApp, CodeBundle
from flare_core.recipe import wrong_model
from flare_core.recipes.initial_model import check_fits
from flare_core.recipes.script import ScriptRecipe
from flare_core.recipes.site_settings import SiteSettings
from flare_tensor_downloader import read_file, write_file


class SklearnModel(ScriptRecipe):
    """``initial_model`` is a dict of name to array, or another form described by the recipe; ``initial_ckpt`` is a
    ``.npz`` or ``.safetensors`` file with such arrays."""

    framework = "numpy"
    persistor = "flare_runtime.run.persistor.SafetensorsPersistor"

    def _check(self) -> None:
        super()._check()
        for site, settings in self._sites.items():
            for name in settings.config.keys() & self._script_config().keys():
                raise RecipeError(
                    f"per_site_config[{site!r}]: config has an entry {name!r}, a name that {self.public_name()} uses"
                    " for all sites; choose another name"
                )

    def _write_initial(self, model: Any, checkpoint: Path | None, target: Path) -> None:
        params = None if model is None else self._to_params(model)
        if checkpoint is not None:
            saved = _read_checkpoint(checkpoint)
            if params:
                check_fits(saved, params, checkpoint)
            params = saved
        write_file(target, self._check_params(params or {}))

    def _script_config(self) -> dict[str, Any]:
        """Return values for ``flare.get_config()`` at every site, in addition to each site's own."""
        return {}

    def _client_app(self, settings: SiteSettings, shared: CodeBundle) -> ClientApp:
        app = super()._client_app(settings, shared)
        app.config.update(self._script_config())
        return app

    def _to_params(self, model: Any) -> dict[str, Any]:
        if not isinstance(model, Mapping):
            raise wrong_model(model, self.public_name(), "a dict of name to array")
        return {name: numbers(value, f"initial_model['{name}']") for name, value in model.items()}

    def _check_params(self, params: dict[str, Any]) -> dict[str, Any]:
        """Check the initial arrays and return them, with missing ones added and dtypes converted.

        Raises:
            RecipeError: they do not fit this recipe's model; names the array, its shape and the expected one.
        """
        return params


def numbers(value: Any, what: str) -> np.ndarray[Any, Any]:
    """Return ``value``, an array or a nested list, as an array of numbers.

    Raises:
        RecipeError: the value cannot be converted; names ``what``.
    """
    try:
        array = np.array(value)
    except ValueError as error:
        raise RecipeError(f"{what} is not an array: {error}") from None
    if array.dtype.kind not in "fiub":
        raise RecipeError(f"{what} is {type(value).__name__} of dtype {array.dtype}; give an array of real numbers")
    return array


def check_shape(params: Mapping[str, Any], name: str, wanted: tuple[int | None, ...]) -> None:
    """Refuse an array that is missing or has another shape; None stands for any length.

    Args:
        params: the initial model's arrays, by name.
        name: the array's name.
        wanted: its expected shape.
    Raises:
        RecipeError: names the array and both shapes.
    """
    lengths = ", ".join("any" if length is None else str(length) for length in wanted)
    text = f"({lengths},)" if len(wanted) == 1 else f"({lengths})"
    if name not in params:
        raise RecipeError(f"the initial model has no '{name}'; give one of shape {text}")
    shape = np.shape(params[name])
    if len(shape) != len(wanted) or any(want not in (None, has) for want, has in zip(wanted, shape, strict=True)):
        raise RecipeError(f"the initial model's '{name}' has shape {shape}; give one of shape {text}")


def _read_checkpoint(path: Path) -> dict[str, Any]:
    if path.suffix == ".safetensors":
        return read_file(path)
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as loaded:
            return dict(loaded)
    raise RecipeError(f"initial_ckpt {path} has an unknown file type; give a .safetensors or .npz file")

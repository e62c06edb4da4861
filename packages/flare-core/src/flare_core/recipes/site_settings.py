"""The settings of one site's script: a recipe's values, or replacements for that site."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flare_core.additions import checked_config
from flare_core.code import find_script
from flare_core.errors import RecipeError
from flare_core.job_folder import CLIENT_KEYS
from flare_core.model import ParamsType
from flare_core.recipe import check_args

_NAMES = ("train_script", "train_args", "launch_external_process", "command", "params_transfer_type", "config")


class SiteSettings:
    """The settings of one site's script.

    Args:
        folder: the folder that relative paths of scripts refer to.
    """

    script: Path
    is_installed: bool  # at the sites, so that it is not sent with the job
    args: list[str]
    external: bool
    command: list[str]
    transfer: ParamsType

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.config: dict[str, Any] = {}

    def changed(self, values: Mapping[str, Any], *, where: str) -> SiteSettings:
        """Return a copy with some settings replaced; None keeps the current value.

        Args:
            values: values by the names of the recipe's arguments.
            where: the prefix of errors.
        Raises:
            RecipeError: ``values`` is not a dict, or a setting is unknown or unusable.
        """
        if not isinstance(values, Mapping):
            raise RecipeError(f"{where}is a {type(values).__name__}; give a dict of settings")
        new = copy.copy(self)
        for name, value in values.items():
            if name not in _NAMES:
                raise RecipeError(f"{where}unknown setting {name!r}; known settings are {', '.join(_NAMES)}")
            if value is not None:
                try:
                    new._set(name, value)
                except RecipeError as error:
                    raise RecipeError(f"{where}{error}") from None
        return new

    def _set(self, name: str, value: Any) -> None:
        match name:
            case "train_script":
                check_script(value)
                path = Path(value).expanduser()
                self.is_installed = path.is_absolute() and not path.exists()
                self.script = path if self.is_installed else find_script(value, self._folder)
            case "train_args":
                self.args = check_args(value, name)
            case "launch_external_process":
                if not isinstance(value, bool | int):
                    raise RecipeError(f"{name} is {value!r}; give True or False")
                self.external = bool(value)
            case "command":
                self.command = check_args(value, name)
                if not self.command:
                    raise RecipeError(f"{name} is empty; give the command that starts the script, such as 'python3 -u'")
            case "params_transfer_type":
                if value not in [*ParamsType]:
                    raise RecipeError(f"{name} is {value!r}; use 'FULL' or 'DIFF'")
                self.transfer = ParamsType(value)
            case "config":
                self.config = checked_config(value, CLIENT_KEYS)


def check_script(value: Any) -> None:
    """Check that ``value`` can be the path of a script.

    Raises:
        RecipeError: it cannot.
    """
    if not isinstance(value, str | Path) or not str(value):
        raise RecipeError(f"train_script is {value!r}; give the path of the script that the sites run")

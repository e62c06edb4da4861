"""How one site runs its script: a recipe's values, some of them replaced for that site."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flare_core.additions import checked_config
from flare_core.code import find_script
from flare_core.errors import RecipeError
from flare_core.job_folder import CLIENT_KEYS
from flare_core.model import ParamsType
from flare_core.recipe import check_args

__all__ = ["SiteSettings", "check_script"]


class SiteSettings:
    """How one site runs its script.

    Args:
        folder: relative paths of scripts begin there.
    """

    script: Path
    is_installed: bool  # at the sites, so that it does not travel
    args: list[str]
    external: bool
    command: list[str]
    transfer: ParamsType

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.config: dict[str, Any] = {}

    def changed(self, values: Mapping[str, Any], *, where: str) -> SiteSettings:
        """Return these settings with some replaced; None keeps what is there.

        Args:
            values: by the recipe's names for them.
            where: begins each error.
        Raises:
            RecipeError: ``values`` is no dict, or a setting is unknown or unusable.
        """
        if not isinstance(values, Mapping):
            raise RecipeError(f"{where}is a {type(values).__name__}; give a dict of settings")
        new = SiteSettings(self._folder)
        new.__dict__.update(self.__dict__)
        for name, value in values.items():
            setter = _SETTERS.get(name)
            if setter is None:
                raise RecipeError(f"{where}unknown setting {name!r}; known are {', '.join(_SETTERS)}")
            if value is not None:
                try:
                    setter(new, value)
                except RecipeError as error:
                    raise RecipeError(f"{where}{error}") from None
        return new

    def _set_script(self, value: Any) -> None:
        check_script(value)
        path = Path(value).expanduser()
        self.is_installed = path.is_absolute() and not path.exists()
        self.script = path if self.is_installed else find_script(value, self._folder)

    def _set_args(self, value: Any) -> None:
        self.args = check_args(value, "train_args")

    def _set_external(self, value: Any) -> None:
        if not isinstance(value, bool | int):
            raise RecipeError(f"launch_external_process is {value!r}; give True or False")
        self.external = bool(value)

    def _set_command(self, value: Any) -> None:
        self.command = check_args(value, "command")
        if not self.command:
            raise RecipeError("command is empty; give what starts the script, such as 'python3 -u'")

    def _set_transfer(self, value: Any) -> None:
        try:
            self.transfer = ParamsType(value)
        except ValueError:
            raise RecipeError(f"params_transfer_type is {value!r}; use 'FULL' or 'DIFF'") from None

    def _set_config(self, value: Any) -> None:
        self.config = checked_config(value, CLIENT_KEYS)


def check_script(value: Any) -> None:
    """Check that ``value`` can be the path of a script.

    Raises:
        RecipeError: it cannot.
    """
    if not isinstance(value, str | Path) or not str(value):
        raise RecipeError(f"train_script is {value!r}; give the path of the script that the sites run")


_SETTERS = {
    "train_script": SiteSettings._set_script,
    "train_args": SiteSettings._set_args,
    "launch_external_process": SiteSettings._set_external,
    "command": SiteSettings._set_command,
    "params_transfer_type": SiteSettings._set_transfer,
    "config": SiteSettings._set_config,
}

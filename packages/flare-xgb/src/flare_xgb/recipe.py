"""The part that all recipes of trees share: data loaders, parameters, and the job that is made of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flare_core import FlareError, RecipeError, UnknownArgumentError
from flare_core.additions import check_sites, checked_config
from flare_core.code import calling_folder, collect_code
from flare_core.components import Component
from flare_core.job import ClientApp, CodeBundle, ExecutorEntry, Job, ServerApp
from flare_core.recipe import Recipe, check_component, check_count
from flare_core.recipes.workflow import module_file


@dataclass(kw_only=True, eq=False, repr=False)
class XGBRecipe(Recipe):
    """Trees that are grown from the rows of several sites.

    Args:
        num_rounds: number of rounds, each of which adds trees.
        xgb_params: XGBoost's parameters by XGBoost's names, such as ``{"objective": "binary:logistic"}``.
        early_stopping_rounds: end the run after this many rounds without improvement of the last metric on the
            validation rows of all sites, or where there are none on the training rows; None trains all rounds.
        data_loader: reads the rows of every site that ``per_site_config`` does not name: a
            :class:`~flare_xgb.data.DataLoader`, or ``{"class_path", "args"}``. Its module is sent with the job if it
            lies beside the file that makes the recipe.
        per_site_config: settings by the name of the site; ``data_loader`` reads its rows.
        round_deadline_s: seconds after which a round continues without sites that have not replied, if ``min_clients``
            have. None waits for all.
        reconnect_grace_s: seconds to wait while fewer than ``min_clients`` sites are connected before the run fails.
        seed: seeds ``fed.random``; that of XGBoost's draws is in ``xgb_params``.

    Raises:
        RecipeError: an argument is unusable; names it, its value and the remedy.
    """

    num_rounds: int = 10
    xgb_params: Mapping[str, Any] | None = None
    early_stopping_rounds: int | None = None
    data_loader: Any = None
    per_site_config: Mapping[str, Mapping[str, Any]] | None = None
    round_deadline_s: float | None = None
    reconnect_grace_s: float | None = None
    seed: int = 0

    site_settings: ClassVar[tuple[str, ...]] = ("data_loader",)
    """The settings that a site may have in ``per_site_config``."""

    def _check(self) -> None:
        super()._check()
        self._folder = calling_folder()
        self.num_rounds = check_count(self.num_rounds, "num_rounds")
        if self.early_stopping_rounds is not None:
            self.early_stopping_rounds = check_count(self.early_stopping_rounds, "early_stopping_rounds")
        self._params = _checked_params(self.xgb_params or {})
        self._sites = self._checked_sites(self.per_site_config or {})
        self._loader = None if self.data_loader is None else _checked_loader(self.data_loader, "data_loader")
        if self._loader is None and not self._sites:
            raise RecipeError("give data_loader, or per_site_config={site: {'data_loader': …}}: the sites need rows")

    def _checked_sites(self, given: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        if not isinstance(given, Mapping) or not all(isinstance(each, Mapping) for each in given.values()):
            raise RecipeError(f"per_site_config is {given!r}; write {{site: {{'data_loader': …}}}}")
        check_sites(given, "per_site_config")
        made = {}
        for site, settings in given.items():
            where = f"per_site_config[{site!r}]"
            if unknown := sorted(set(settings) - set(self.site_settings)):
                raise RecipeError(
                    f"{where} has the unknown setting {unknown[0]!r}; use {', '.join(self.site_settings)}"
                )
            made[site] = dict(settings)
            if settings.get("data_loader") is not None:
                made[site]["data_loader"] = _checked_loader(settings["data_loader"], f"{where}['data_loader']")
            elif self.data_loader is None:
                raise RecipeError(f"{where} has no data_loader; give it one, or give one for all sites")
        return made

    @abstractmethod
    def _workflow(self) -> Component:
        """Return the workflow with its arguments."""

    @abstractmethod
    def _executor(self, loader: Component | None, settings: Mapping[str, Any]) -> Component:
        """Return the executor of a site, given its loader and its other settings."""

    def build(self) -> Job:
        loaders = [self._loader, *(settings.get("data_loader") for settings in self._sites.values())]
        found = (module_file(each, self._folder) for each in loaders if each is not None)
        files = sorted({each for each in found if each is not None})
        apps = {site: self._app(settings) for site, settings in self._sites.items()}
        return Job(
            name=self.name,
            min_clients=self.min_clients,
            server=ServerApp(workflows=[self._workflow()]),
            client=self._app({}),
            sites=apps,
            code=collect_code(files, self._folder) if files else CodeBundle(self._folder),
            seed=self.seed,
        )

    def _app(self, settings: Mapping[str, Any]) -> ClientApp:
        executor = self._executor(settings.get("data_loader") or self._loader, settings)
        return ClientApp(executors=[ExecutorEntry(("*",), executor)])


def _checked_params(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return XGBoost's parameters as plain data, and refuse what cannot be trained here already."""
    from flare_xgb.horizontal.learning import Learning  # the engine takes a moment to import

    if not isinstance(given, Mapping):
        raise RecipeError(f"xgb_params is {given!r}; give a dict of XGBoost's parameters")
    plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in given.items()}
    try:
        params = checked_config(plain, set())
        Learning.of_unnamed(params)
    except UnknownArgumentError:
        raise
    except FlareError as error:
        raise RecipeError(f"xgb_params: {error}") from error
    return params


def _checked_loader(value: Any, name: str) -> Component:
    if isinstance(value, Component | Mapping | type):
        component, loader = check_component(value, name, object)
        _check_method(loader, name)
        return component
    _check_method(value, name)  # before it is copied, which tables may not allow
    return check_component(value, name, object)[0]


def _check_method(loader: Any, name: str) -> None:
    if not callable(getattr(loader, "load_data", None)):
        raise RecipeError(f"{name} is a {type(loader).__name__} without load_data(); derive its class from DataLoader")

"""The recipe of federated statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath, PurePosixPath
from typing import Any

from flare_core import RecipeError
from flare_core.additions import check_sites
from flare_core.code import calling_folder, collect_code
from flare_core.components import Component
from flare_core.job import ClientApp, CodeBundle, ExecutorEntry, Job, ServerApp
from flare_core.recipe import Recipe, check_component, check_count
from flare_core.recipes.workflow import module_file
from flare_stats.config import Settings
from flare_stats.errors import StatsError
from flare_stats.hierarchy import check_levels, check_tree
from flare_stats.in_memory import InMemory
from flare_stats.spec import Statistics

_SITE_SETTINGS = ("data", "stats_generator")
_FILES = ("matrices.json", "about.json", "report.html")


@dataclass(kw_only=True, eq=False, repr=False)
class FedStatsRecipe(Recipe):
    """Statistics of the data of many sites: of each site, of groups of sites, and of all together.

    The sites answer with numbers that their owners' rules allow, and the server merges them; rows stay where they are.
    The results lie in the server's folder of the run, as ``statistics.json``, ``matrices.json``, ``about.json`` and
    ``report.html``.

    Args:
        min_clients: number of sites that must answer; all of ``sites`` if left out.
        stats_output_path: where ``statistics.json`` goes, below the server's folder; the other files go beside it.
        sites: names of the sites that take part; all that are connected if left out.
        statistic_configs: what to compute, ``{statistic: {feature or "*": options}}``, such as ``{"count": {}, "mean":
            {}, "histogram": {"*": {"bins": 20}, "age": {"bins": 12, "range": [0, 120]}}, "quantile": {"*": [0.5]}}``.
        stats_generator: a :class:`~flare_stats.Statistics` of one's own, for the sites without ``data``.
        min_count: the least number of values that a statistic may be of, and of rows that a category is named for. The
            owner of a site may want more.
        min_noise_level: minimum and maximum are moved outwards by at least this share of the range between them.
        max_noise_level: and by at most this.
        max_bins_percent: the most bins of a histogram, in percent of the number of values; 100 allows any.
        per_site_config: settings by the name of the site: ``data``, the data sets by name, each as
            :func:`~flare_stats.sources.open_source` reads it; or a ``stats_generator``.
        hierarchy: groups of sites, as ``"region/hospital"`` or as a tree: ``{"north": ["site-1", "site-2"]}``.
        masked: the server sees totals over all sites alone, and there are no statistics of single sites. ``min_count``
            and ``max_bins_percent`` are then for the totals.
        round_deadline_s: seconds after which a round goes on without sites that have not answered, if ``min_clients``
            have. None waits for all.
        reconnect_grace_s: seconds to wait while fewer than ``min_clients`` sites are connected before the run fails.
        seed: without effect on the statistics.

    Raises:
        RecipeError: an argument is unusable; names it, its value and the remedy.

    Example:
        recipe = FedStatsRecipe(
            name="adults",
            sites=["site-1", "site-2"],
            statistic_configs={"count": {}, "mean": {}, "stddev": {}, "histogram": {"*": {"bins": 20}}},
            per_site_config={
                "site-1": {"data": {"train": "/data/site-1.csv"}},
                "site-2": {"data": {"train": "/data/site-2.parquet"}},
            },
        )
    """

    name: str = "statistics"
    min_clients: int | None = None  # type: ignore[assignment]  # the number of sites, once it is made
    stats_output_path: str = "statistics.json"
    sites: Sequence[str] | None = None
    statistic_configs: Mapping[str, Any]
    stats_generator: Any = None
    min_count: int = 10
    min_noise_level: float = 0.1
    max_noise_level: float = 0.3
    max_bins_percent: float = 10
    per_site_config: Mapping[str, Mapping[str, Any]] | None = None
    hierarchy: Any = None
    masked: bool = False
    round_deadline_s: float | None = None
    reconnect_grace_s: float | None = None
    seed: int = 0

    def _check(self) -> None:
        self._folder = calling_folder()
        self._check_sites()
        super()._check()
        try:
            self._settings = Settings.parse(self.statistic_configs)
            if isinstance(self.hierarchy, str):
                check_levels(self.hierarchy)
            elif self.hierarchy is not None:
                check_tree(self.hierarchy)
            if self.masked:
                self._settings.check_maskable()
        except StatsError as error:
            raise RecipeError(str(error)) from error
        self.min_count = check_count(self.min_count, "min_count", minimum=0)
        if not isinstance(self.masked, bool):
            raise RecipeError(f"masked is {self.masked!r}; give True or False")
        if self.masked and self.hierarchy is not None:
            raise RecipeError("masked is True with a hierarchy, but under masks there are totals of all sites alone")
        if self.masked and self.min_clients == 1:
            raise RecipeError("masked is True with min_clients=1, but a total over one site is the site's own")
        self._check_privacy()
        path = PurePosixPath(str(self.stats_output_path))
        if path.is_absolute() or ".." in path.parts or not path.name or path.name in _FILES:
            raise RecipeError(
                f"stats_output_path is {self.stats_output_path!r}; give the name of a file below the server's folder,"
                f" other than {', '.join(_FILES)}"
            )
        self._own = self._checked_sites(self.per_site_config or {})
        self._generator = None if self.stats_generator is None else _checked(self.stats_generator, "stats_generator")
        if self._generator is None and not self._own:
            raise RecipeError(
                "give per_site_config={site: {'data': {'train': …}}}, or stats_generator: there are no data"
            )

    def _check_sites(self) -> None:
        if self.sites is not None:
            if isinstance(self.sites, str) or not isinstance(self.sites, Sequence) or not self.sites:
                raise RecipeError(f"sites is {self.sites!r}; give a list of names")
            check_sites(self.sites, "sites")
        if self.min_clients is None:
            count = len(self.sites or self.per_site_config or ())
            if not count:
                raise RecipeError("give sites, or min_clients: how many sites must answer")
            self.min_clients = count
        if self.sites is not None and isinstance(self.min_clients, int) and self.min_clients > len(self.sites):
            raise RecipeError(f"min_clients is {self.min_clients}, but there are {len(self.sites)} sites; lower it")

    def _check_privacy(self) -> None:
        for name in ("min_noise_level", "max_noise_level", "max_bins_percent"):
            value, most = getattr(self, name), 100.0 if name == "max_bins_percent" else 1.0
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
                raise RecipeError(f"{name} is {value!r}; give a number from 0 to {most:g}")
        if self.min_noise_level > self.max_noise_level:
            raise RecipeError(
                f"min_noise_level is {self.min_noise_level}, above max_noise_level, which is {self.max_noise_level};"
                " exchange them"
            )

    def _checked_sites(self, given: Any) -> dict[str, dict[str, Any]]:
        if not isinstance(given, Mapping) or not all(isinstance(each, Mapping) for each in given.values()):
            raise RecipeError(f"per_site_config is {given!r}; write {{site: {{'data': {{'train': …}}}}}}")
        check_sites(given, "per_site_config")
        made: dict[str, dict[str, Any]] = {}
        for site, settings in given.items():
            where = f"per_site_config[{site!r}]"
            if unknown := sorted(set(settings) - set(_SITE_SETTINGS), key=str):
                raise RecipeError(f"{where} has the unknown setting {unknown[0]!r}; use {', '.join(_SITE_SETTINGS)}")
            if self.sites is not None and site not in self.sites:
                raise RecipeError(f"per_site_config names {site!r}, which is none of sites; add it there")
            made[site] = {}
            if (data := settings.get("data")) is not None:
                if not isinstance(data, Mapping) or not data or not all(isinstance(name, str) for name in data):
                    raise RecipeError(f"{where}['data'] is {data!r}; give data sets by name: {{'train': 'train.csv'}}")
                made[site]["data"] = {name: _spec(each, f"{where}['data'][{name!r}]") for name, each in data.items()}
            if (generator := settings.get("stats_generator")) is not None:
                made[site]["stats_generator"] = _checked(generator, f"{where}['stats_generator']")
            if len(made[site]) == 2:
                raise RecipeError(f"{where} has both data and a stats_generator; let the generator set self.data")
        return made

    def build(self) -> Job:
        generators = [self._generator, *(each.get("stats_generator") for each in self._own.values())]
        found = (module_file(each, self._folder) for each in generators if each is not None)
        files = sorted({each for each in found if each is not None})
        workflow = {
            "statistic_configs": self._settings.plain,
            "min_clients": self.min_clients,
            "name": self.name,
            "output": str(self.stats_output_path),
            "sites": None if self.sites is None else list(self.sites),
            "hierarchy": self.hierarchy,
            "masked": self.masked,
            "min_count": self.min_count,
            "max_bins_percent": self.max_bins_percent,
        }
        return Job(
            name=self.name,
            min_clients=int(self.min_clients or 0),
            server=ServerApp(workflows=[Component("flare_stats.workflow.FederatedStatistics", workflow)]),
            client=self._app({}),
            sites={site: self._app(settings) for site, settings in self._own.items()},
            code=collect_code(files, self._folder) if files else CodeBundle(self._folder),
            seed=self.seed,
        )

    def _app(self, settings: Mapping[str, Any]) -> ClientApp:
        args = {
            "data": settings.get("data"),
            "stats_generator": None if "data" in settings else settings.get("stats_generator", self._generator),
            "min_count": self.min_count,
            "min_noise_level": self.min_noise_level,
            "max_noise_level": self.max_noise_level,
            "max_bins_percent": self.max_bins_percent,
            "masked": self.masked,
        }
        return ClientApp(executors=[ExecutorEntry(("*",), Component("flare_stats.executor.StatisticsExecutor", args))])


def _spec(value: Any, where: str) -> Any:
    if isinstance(value, Mapping) and set(value) == {"path"}:
        value = value["path"]  # as a mapping, it would be taken for a component
    is_plain = isinstance(value, str | PurePath | Mapping)
    return value if is_plain else InMemory(value, where)


def _checked(value: Any, name: str) -> Component:
    component, made = check_component(value, name, object)
    if not isinstance(made, Statistics):
        raise RecipeError(
            f"{name} is a {type(made).__name__}; give an object whose class derives from flare_stats.Statistics"
        )
    return component

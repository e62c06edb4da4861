"""Jobs whose parts describe statistics, which become recipes of flare_stats."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flare_stats
from flare_core import JobError, Recipe, RecipeError
from flare_core.job import ALL_SITES, SERVER
from nvflare._flare.layout import Outputs
from nvflare._flare.levels import LevelsFile
from nvflare._flare.parts import Parts
from nvflare._flare.recipe_parts import (
    RecipeController,
    RecipeExecutor,
    RecipePart,
    component_of,
    executors_of,
    workflow_of,
)

logger = logging.getLogger("nvflare")

_UNLIMITED = {"min_count": 0, "min_noise_level": 0.0, "max_noise_level": 0.0, "max_bins_percent": 100.0}
_USUAL = {"min_count": 10, "min_noise_level": 0.1, "max_noise_level": 0.3, "max_bins_percent": 10.0}


class StatisticsPart(RecipePart):
    """A part of a job of statistics.

    Attributes:
        limits: the arguments of the recipe that it stands for.
    """

    limits: tuple[str, ...] = ()


class StatisticsWorkflow(RecipeController):
    """A workflow that asks for statistics."""

    hierarchy_config: str | None = None


class AnsweringExecutor(RecipeExecutor):
    """An executor that answers with statistics; it names the object that computes them."""

    generator_id: str

    @classmethod
    def recipe(cls, name: str, min_clients: int, parties: Mapping[str, Parts]) -> tuple[Recipe, Outputs]:
        workflow = workflow_of(parties)
        if not isinstance(workflow, StatisticsWorkflow):
            raise RecipeError(f"the workflow is a {type(workflow).__name__}; use a StatisticsController")
        control: Any = workflow
        sites = {
            party: component_of(party, parts, each.generator_id, "to compute statistics")
            for party, parts, each in executors_of(parties, cls)
        }
        named = {site: {"stats_generator": each} for site, each in sites.items() if site != ALL_SITES}
        output_path = _output_path(parties[SERVER], control.writer_id)
        levels = _levels(parties[SERVER], control.hierarchy_config)
        arguments: dict[str, Any] = {
            "name": name,
            "min_clients": control.min_clients or max(min_clients, len(named)),
            "stats_output_path": output_path,
            "statistic_configs": control.statistic_configs,
            "stats_generator": sites.get(ALL_SITES),
            "per_site_config": named or None,
            "hierarchy": None if levels is None else _hierarchy(*levels),
        }
        recipe = flare_stats.FedStatsRecipe(**arguments, **_limits(parties))
        if levels is not None:
            recipe.add_server_component("levels_file", LevelsFile(output_path, levels[0]))
        return recipe, Outputs()


def _output_path(server: Parts, writer_id: str) -> str:
    writer = component_of(SERVER, server, writer_id, "to write the statistics")
    path = getattr(writer, "output_path", None)
    if not isinstance(writer, StatisticsPart) or not isinstance(path, str):
        raise RecipeError(
            f"the statistics are written by a {type(writer).__name__}; Flare writes them itself, at the path that a"
            " JsonStatsFileWriter names"
        )
    return path


def _limits(parties: Mapping[str, Parts]) -> dict[str, Any]:
    """Return what the filters of the sites allow: without any, everything.

    Raises:
        RecipeError: the sites have different limits.
    """
    found: dict[str, Any] = {}
    for party, parts in parties.items():
        if party == SERVER:
            continue
        allowed = _allowed(party, parts)
        if found and allowed != found:
            text = f"{party}: the limits of the statistics are {allowed}, but at other sites {found}"
            raise RecipeError(f"{text}; make them the same")
        found = allowed
    return found


def _allowed(party: str, parts: Parts) -> dict[str, Any]:
    """Return the limits that a site's filters set; where they name a limit that is missing, a recipe's own hold."""
    base, found = _UNLIMITED, {}
    filters = [each for _, each in parts.task_result_filters if isinstance(each, StatisticsPart)]
    for wanted in [name for each in filters for name in getattr(each, "result_cleanser_ids", ())]:
        cleanser = parts.components.get(wanted)
        if cleanser is None:
            logger.warning("%s: there is no component %r that limits statistics; the usual limits hold", party, wanted)
            base = _USUAL
        elif not isinstance(cleanser, StatisticsPart) or not cleanser.limits:
            raise RecipeError(
                f"{party}: {wanted!r} is a {type(cleanser).__name__}; Flare limits statistics itself, as"
                " MinCountCleanser, AddNoiseToMinMax and HistogramBinsCleanser say"
            )
        else:
            found.update({name: getattr(cleanser, name) for name in cleanser.limits})
    return base | found


def _levels(server: Parts, file: str | None) -> tuple[Any, Path] | None:
    """Return the hierarchy that a file describes, and the file."""
    if not file:
        return None
    from nvflare._host.config_files import read_config

    found = [Path(source) for source, _, _ in server.files if Path(source).name == Path(file).name]
    if not found:
        raise RecipeError(f"hierarchy_config names {file}, which the server's app does not have in its folder 'config'")
    return read_config(found[0]), found[0]


def _hierarchy(levels: Any, file: Path) -> Any:
    """Return the groups of sites of a hierarchy, in Flare's form."""
    tree = _groups(levels, file)
    return tree if isinstance(tree, dict) else {"sites": tree}


def _groups(level: Any, file: Path) -> Any:
    """Return a level of the file: ``{name of the level: [{"Name": …, name of the next: …}]}``, or sites."""
    if not isinstance(level, Mapping) or len(level) != 1:
        raise JobError(f"{file}: {level!r} is no level of a hierarchy; write {{name of the level: [groups or sites]}}")
    entries = next(iter(level.values()))
    if not isinstance(entries, list):
        raise JobError(f"{file}: a level of the hierarchy is {entries!r}; write a list of groups or of sites")
    if all(isinstance(each, str) for each in entries):
        return entries
    tree = {}
    for each in entries:
        if not isinstance(each, Mapping) or not isinstance(each.get("Name"), str):
            raise JobError(f'{file}: a group is {each!r}; write {{"Name": …, name of the next level: […]}}')
        if each["Name"] in tree:
            raise JobError(f"{file}: two groups of a level are called {each['Name']!r}; merge them, or rename one")
        tree[each["Name"]] = _groups({key: value for key, value in each.items() if key != "Name"}, file)
    return tree

"""require_contract: makes the data of all sites keep a contract before a recipe's run begins."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from flare_core import RecipeError
from flare_core.additions import check_sites, checked_config
from flare_core.code import calling_folder
from flare_core.recipe import Recipe
from flare_stats.contract.errors import ContractError
from flare_stats.contract.model import Contract
from flare_stats.contract.reading import load, parse
from flare_stats.contract.services import ContractGate
from flare_stats.contract.writing import text_of

COMPONENT = "data_contract"


def require_contract(
    recipe: Recipe,
    contract: str | Path | Contract | Mapping[str, str | Path | Contract],
    *,
    data: Any = None,
    per_site_data: Mapping[str, Any] | None = None,
) -> None:
    """Check the data of every site before a run of a recipe begins, and end the run if a rule is broken.

    The error names the sites, the columns and the rules, with counts and the likely cause, but no value of a person.
    ``data-contract.txt`` in a site's own folder has the details, and ``contract.json`` in the server's folder all
    verdicts.

    Args:
        recipe: any recipe.
        contract: the contract, or the path of its file, relative to the file that calls this; or a dict of them by
            site, for sites that have different columns of the same rows.
        data: the data at every site: a path, in which ``{site}`` stands for the site's name; a dict with ``path`` and
            further options of a source; ``{"config": key}`` for the setting of that name that each site has (see
            ``recipe.add_client_config``); or a function of the site's name that returns a path or a data frame, in a
            module beside the file that calls this.
        per_site_data: the same by site, in place of ``data``. A run with other sites fails.
    Raises:
        RecipeError: an argument is unusable; names it, its value and the remedy.
        ContractError: the contract cannot be read.
    """
    if not isinstance(recipe, Recipe):
        raise RecipeError(f"recipe is {recipe!r}; give a recipe, such as FedAvgRecipe(…)")
    given, functions = checked_data(data, per_site_data)
    contracts = {site: contract_text(of) for site, of in _by_site(contract, given).items()}
    name = parse(next(iter(contracts.values()))).name
    sites = None if None in contracts else [str(site) for site in contracts]
    try:
        recipe.add_server_component(COMPONENT, _component("ContractAtServer", name=name, sites=sites))
    except RecipeError as error:
        raise RecipeError("the recipe requires a contract already; put the rules of both into one") from error
    for file in functions:
        recipe.add_client_file(file)
    recipe.add_server_output_filter(ContractGate())
    for site, text in contracts.items():
        at_site = _component("ContractAtSite", contract=text, data=given.get(site, given.get(None)))
        recipe.add_client_component(COMPONENT, at_site, clients=None if site is None else [site])


def _by_site(contract: Any, data: Mapping[str | None, Any]) -> dict[str | None, Any]:
    """Return the contract of each site whose data are known, None standing for all sites."""
    if not isinstance(contract, Mapping):
        return dict.fromkeys(data, contract)
    check_sites(contract, "contract")
    if not contract or (None not in data and contract.keys() != data.keys()):
        raise RecipeError(
            f"contract is for {', '.join(contract) or 'no site'}, but per_site_data for"
            f" {', '.join(map(str, data))}; name the same sites"
        )
    return dict(contract)


def contract_text(contract: str | Path | Contract) -> str:
    """Return a contract as YAML.

    Args:
        contract: the contract, or the path of its file, relative to the file that makes the recipe.
    Raises:
        RecipeError: it is neither.
        ContractError: the file cannot be read.
    """
    if isinstance(contract, Contract):
        return text_of(contract)
    if not isinstance(contract, str | Path):
        raise RecipeError(f"contract is {contract!r}; give the path of a contract")
    path = Path(contract).expanduser()
    return text_of(load(calling_folder() / path))


def checked_data(data: Any, per_site_data: Mapping[str, Any] | None) -> tuple[dict[str | None, Any], list[Path]]:
    """Return the data by site, None standing for all sites, and the files of functions among them.

    Raises:
        RecipeError: both or neither are given, or one is unusable.
    """
    if (data is None) == (per_site_data is None):
        raise RecipeError("give either data, the same for all sites, or per_site_data={site: …}: what is to be checked")
    if per_site_data is not None and (not isinstance(per_site_data, Mapping) or not per_site_data):
        raise RecipeError(f"per_site_data is {per_site_data!r}; give a dict of data by site name")
    check_sites(per_site_data or (), "per_site_data")
    files: list[Path] = []
    given: dict[str | None, Any] = {}
    items: list[tuple[str | None, Any]] = [(None, data)] if per_site_data is None else list(per_site_data.items())
    for site, each in items:
        given[site] = _checked(each, "data" if site is None else f"per_site_data[{site!r}]", files)
    return given, files


def _checked(data: Any, name: str, files: list[Path]) -> Any:
    if isinstance(data, str | Path):
        return str(data)
    if isinstance(data, Mapping):
        if not {"path", "config"} & data.keys():
            raise RecipeError(
                f"{name} is {dict(data)!r}; give a dict with 'path', or {{'config': 'name of a setting'}}"
            )
        if set(data) == {"path"}:
            return str(data["path"])  # as a mapping, it would be taken for a component
        return checked_config({key: str(value) if key == "path" else value for key, value in data.items()}, set())
    if callable(data):
        return {"function": _path(data, name, files)}
    raise RecipeError(f"{name} is a {type(data).__name__}; give a path, a dict with 'path', or a function")


def _path(function: Callable[[str], Any], name: str, files: list[Path]) -> str:
    module, qualified = getattr(function, "__module__", ""), getattr(function, "__qualname__", "")
    if module == "__main__" or not qualified.isidentifier():
        raise RecipeError(
            f"{name} is {function!r}, which the sites cannot import; define the function in a module of its own, next"
            " to the file that makes the recipe"
        )
    file = getattr(sys.modules.get(module), "__file__", None)
    path = Path(file).resolve() if file else None
    if path is not None and path.parent == calling_folder() and "." not in module:
        files.append(path)
    return f"{module}.{qualified}"


def _component(kind: str, **args: Any) -> dict[str, Any]:
    return {"class_path": f"flare_stats.contract.services.{kind}", "args": args}


__all__ = ["ContractError", "checked_data", "contract_text", "require_contract"]

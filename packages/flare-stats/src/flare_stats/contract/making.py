"""Contracts of sources of data, and checks of them, outside of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flare_stats.contract.breaches import LEAST, Breach
from flare_stats.contract.check import check
from flare_stats.contract.errors import ContractError
from flare_stats.contract.make import make_contract
from flare_stats.contract.model import Contract
from flare_stats.contract.policy import SitePolicy
from flare_stats.contract.profile import profile_of
from flare_stats.sources import open_source


def contract_of_source(
    data: Any,
    *,
    name: str = "data",
    label: str | None = None,
    units: Mapping[str, str] | None = None,
    least: int = LEAST,
    local: Path | None = None,
) -> Contract:
    """Make a contract that data like those of a source keep.

    Args:
        data: what :func:`~flare_stats.sources.open_source` opens.
        name: the name of the data.
        label: the column that a model predicts.
        units: units by column.
        least: the smallest number of rows that anything in the contract stands for.
        local: the folder of the site's owner, whose ``privacy.toml`` holds; None without one.
    Raises:
        ContractError: the table has too few rows, or no column of a name that is given, or the owner's rules ask for
            differential privacy, under which a contract cannot be made of the data.
        SourceError: the data cannot be read.
    """
    source = open_source(data)
    names = [column.name for column in source.features()]
    if local is not None:
        policy = SitePolicy.of(local)
        if policy.rules.privacy is not None:
            raise ContractError(
                f"{local / 'privacy.toml'} asks for differential privacy, under which no contract is made of data;"
                " write the contract by hand, or publish statistics with FedStatsRecipe"
            )
        names, least = policy.shown(names), max(least, policy.least)
    table = profile_of(names, source.chunks(names))
    return make_contract(table, name=name, label=label, units=units, least=least)


def check_source(data: Any, contract: Contract) -> tuple[int, list[Breach]]:
    """Compare a source with a contract.

    Args:
        data: what :func:`~flare_stats.sources.open_source` opens.
        contract: the contract.
    Returns:
        The number of rows, and the broken rules.
    Raises:
        SourceError: the data cannot be read.
    """
    source = open_source(data)
    table = profile_of([column.name for column in source.features()], source.chunks(), contract)
    return table.rows, check(contract, table)

"""Statistics of the data of many sites, privately."""

from flare_stats.contract import Contract, ContractBroken, ContractError, ContractRecipe, require_contract
from flare_stats.errors import NotMaskable, StatsError
from flare_stats.recipe import FedStatsRecipe
from flare_stats.spec import (
    Bin,
    BinRange,
    DataType,
    Feature,
    Histogram,
    HistogramType,
    StatisticConfig,
    Statistics,
)

__all__ = [
    "Bin",
    "BinRange",
    "Contract",
    "ContractBroken",
    "ContractError",
    "ContractRecipe",
    "DataType",
    "Feature",
    "FedStatsRecipe",
    "Histogram",
    "HistogramType",
    "NotMaskable",
    "StatisticConfig",
    "Statistics",
    "StatsError",
    "require_contract",
]

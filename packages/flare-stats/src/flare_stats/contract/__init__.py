"""Data contracts: what a table must be like before a model is trained with it."""

from flare_stats.contract.breaches import Breach, text_of
from flare_stats.contract.check import check
from flare_stats.contract.errors import ContractBroken, ContractError
from flare_stats.contract.make import make_contract
from flare_stats.contract.model import ColumnRules, Contract, LabelRules
from flare_stats.contract.profile import profile_of
from flare_stats.contract.reading import load, parse
from flare_stats.contract.recipe import ContractRecipe
from flare_stats.contract.requirement import require_contract
from flare_stats.contract.writing import text_of as yaml_of

__all__ = [
    "Breach",
    "ColumnRules",
    "Contract",
    "ContractBroken",
    "ContractError",
    "ContractRecipe",
    "LabelRules",
    "check",
    "load",
    "make_contract",
    "parse",
    "profile_of",
    "require_contract",
    "text_of",
    "yaml_of",
]

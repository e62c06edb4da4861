"""Exceptions of data contracts.

FlareError
└── ContractError            a contract, or the data for one, cannot be read
    └── ContractBroken       data break a contract
"""

from __future__ import annotations

from flare_core import FlareError


class ContractError(FlareError, ValueError):
    """A contract cannot be read, made or applied; names the file, the key, the value and the remedy."""


class ContractBroken(FlareError):
    """Data break a contract; names the site, the columns and the rules."""

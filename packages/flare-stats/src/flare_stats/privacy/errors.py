"""Exceptions of a site's policy.

StatsError
└── PolicyError           the policy file cannot be used, or a question cannot be answered at all
    └── LedgerError       the ledger is missing, damaged or cannot be written, so that nothing may be answered
"""

from __future__ import annotations

from flare_stats.errors import StatsError


class PolicyError(StatsError):
    """A policy file or a question is unusable; names the file, the key, the value and the remedy."""


class LedgerError(PolicyError):
    """The ledger cannot be used, so nothing may be answered; names the file and the remedy."""

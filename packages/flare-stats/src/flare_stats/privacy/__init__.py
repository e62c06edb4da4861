"""The site's side of privacy: rules that its owner imposes on what leaves, and the ledger of what has left."""

from flare_stats.privacy.errors import LedgerError, PolicyError
from flare_stats.privacy.ledger import LEDGER, Ledger
from flare_stats.privacy.policy import Policy
from flare_stats.privacy.rules import POLICY, Rules

__all__ = ["LEDGER", "POLICY", "Ledger", "LedgerError", "Policy", "PolicyError", "Rules"]

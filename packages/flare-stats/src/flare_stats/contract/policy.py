"""The rules of a site's owner for what a check of a contract may read and tell.

A contract comes with a job, and each of its rules is a question about the site's data. So a site's ``privacy.toml``
holds for it as for statistics: its sources, features and counts, and the number of questions that are answered. Under
differential privacy, nothing but the verdict itself is told.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flare_core.service import JobContext
from flare_stats.contract.breaches import LEAST, Breach, Telling
from flare_stats.contract.model import Contract
from flare_stats.contract.writing import text_of
from flare_stats.privacy import LEDGER, POLICY, Ledger, PolicyError, Rules
from flare_stats.privacy.sources import check_source, name_of

_DATASET = "contract"


@dataclass(frozen=True, slots=True)
class SitePolicy:
    """The rules of a site for a check.

    Attributes:
        rules: those of the site's owner; those without a policy if there is none.
        ledger: where questions are noted; None without a policy.
    """

    rules: Rules
    ledger: Ledger | None

    @classmethod
    def of(cls, local: Path) -> SitePolicy:
        """Read the policy in the folder of a site's owner.

        Raises:
            PolicyError: the file has an error.
        """
        path = local / POLICY
        has_rules = path.exists() or path.is_symlink()  # a broken link is an error, not a missing policy
        return cls(Rules.read(path), Ledger(local / LEDGER)) if has_rules else cls(Rules.none(), None)

    @property
    def least(self) -> int:
        """The smallest number of people that may be told."""
        return max(LEAST, self.rules.min_count, self.rules.min_bin)

    @property
    def telling(self) -> Telling:
        """How exactly counts are told."""
        return Telling(self.least, self.rules.round_counts_to)

    def check_own_code(self) -> None:
        """Check that a function of the job may return the data.

        Raises:
            PolicyError: a rule forbids it; names the rule.
        """
        for name in ("sources", "privacy"):
            if getattr(self.rules, name) is not None:
                rule = "differential_privacy" if name == "privacy" else name
                raise PolicyError(
                    f"a function of the job returns the data, which the site's rule {rule} cannot limit; give a path"
                )

    def check_source(self, spec: Any) -> None:
        """Check that the job may read the data.

        Args:
            spec: what is opened.
        Raises:
            PolicyError: a rule forbids it; names the rule.
        """
        check_source(self.rules, _DATASET, spec)

    def note(self, context: JobContext, spec: Any, contract: Contract) -> None:
        """Note the question in the ledger, once for each run and contract.

        Raises:
            PolicyError: as many questions about the source were answered as the rules allow.
        """
        if self.ledger is None:
            return
        digest = hashlib.sha256(text_of(contract).encode()).hexdigest()
        source, key = name_of(_DATASET, spec), f"contract {context.job_id} {digest}"
        with self.ledger.writing() as entries:
            most = self.rules.max_queries
            if most is not None and not entries.has_query(key) and entries.queries(source) >= most:
                raise PolicyError(
                    f"max_queries: {most:,} questions about this source were answered, and no more are allowed"
                )
            entries.add_query(key, context.job_id, source, _DATASET)

    def shown(self, names: Iterable[str]) -> list[str]:
        """Return the columns that may be mentioned."""
        return [name for name in names if self.rules.shows(name)]

    def hidden(self, contract: Contract) -> list[Breach]:
        """Return that columns of a contract cannot be checked, since they may not be mentioned."""
        names = [name for name in contract.columns if not self.rules.shows(name)]
        return [Breach(name, "forbidden_features", "the site's rules forbid to check it", "a check") for name in names]

    def told(self, broken: list[Breach]) -> list[Breach]:
        """Return what of broken rules may leave the site."""
        if self.rules.privacy is None or not broken:
            return broken
        found = "the contract is broken; the site's rule differential_privacy lets no more be told"
        return [Breach("", "contract", found, "data that keep the contract")]

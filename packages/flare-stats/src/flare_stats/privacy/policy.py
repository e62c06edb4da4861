"""Policy: the rules of a site at work in one run. Nothing that a site answers leaves without :meth:`Policy.apply`."""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from flare_fobs import dumps
from flare_stats.privacy import differential
from flare_stats.privacy.answering import Answer, rounded_count
from flare_stats.privacy.budget import release_all
from flare_stats.privacy.errors import PolicyError
from flare_stats.privacy.ledger import LEDGER, Entries, Ledger
from flare_stats.privacy.mechanisms import check_installed
from flare_stats.privacy.reply import Reply
from flare_stats.privacy.rules import POLICY, Rules
from flare_stats.privacy.sources import check_own_code, check_source, name_of

SECRET = "noise.key"

logger = logging.getLogger(__name__)


class Policy:
    """The rules of a site, together with the wishes of a job, in one run.

    Rules come from ``privacy.toml`` in the folder that the site's owner keeps. Without that file only the wishes hold,
    and nothing is remembered from run to run.

    Args:
        rules: the rules, wishes included.
        run: the run's id.
        sources: by the name of each data set, what is read; None if code of the job, a ``stats_generator``, does that.
        ledger: where answers are noted; None without a policy file.
        secret: the key of noise on ranges, if there is no ledger.
        is_masked: answers leave under masks, so reasons of refusals hold no number of this site alone.
    """

    def __init__(
        self,
        rules: Rules,
        *,
        run: str,
        sources: Mapping[str, Any] | None,
        ledger: Ledger | None,
        secret: bytes = b"",
        is_masked: bool = False,
    ) -> None:
        self.rules = rules
        self.run = run
        self.ledger = ledger
        self._secret = secret
        self._is_masked = is_masked
        if sources is None:
            check_own_code(rules)
        for dataset, spec in (sources or {}).items():
            check_source(rules, dataset, spec)
        self._sources = None if sources is None else {name: name_of(name, spec) for name, spec in sources.items()}
        self._totals: dict[tuple[str, str], int] = {}
        if rules.privacy is not None:
            check_installed()

    @classmethod
    def open(
        cls,
        local: Path,
        *,
        run: str,
        folder: Path,
        sources: Mapping[str, Any] | None,
        wishes: Mapping[str, Any] | None = None,
        is_masked: bool = False,
    ) -> Self:
        """Read the policy of a site for a run.

        Args:
            local: the folder that the site's owner keeps, ``context.local``.
            run: the run's id.
            folder: the site's folder in the run, for a key that a site without a policy needs.
            sources: by the name of each data set, what ``open_source`` is given; None if code of the job reads them.
            wishes: ``min_count``, ``min_noise_level``, ``max_noise_level`` and ``max_bins_percent`` of the job, which
                hold where they are stricter than the site's rules.
            is_masked: answers leave under masks.
        Raises:
            PolicyError: the policy file has an error, a source may not be read, or a wish is no number.
        """
        path = local / POLICY
        has_rules = path.exists() or path.is_symlink()  # a broken link is an error, not a missing policy
        rules = Rules.read(path) if has_rules else Rules.none()
        rules = rules.with_wishes(wishes or {})
        if has_rules:
            return cls(rules, run=run, sources=sources, ledger=Ledger(local / LEDGER), is_masked=is_masked)
        secret = _kept_secret(folder / SECRET)
        return cls(rules, run=run, sources=sources, ledger=None, secret=secret, is_masked=is_masked)

    @property
    def grain(self) -> int:
        """The least number of values in a group from which ranks are answered; 1 for exact ranks."""
        return max(self.rules.min_count, 1)

    @property
    def hides_reasons(self) -> bool:
        """True if what a database says about a query must stay at the site: it can hold values of records."""
        return self.ledger is not None and self.rules.sql_queries

    def refusal(self, feature: str, statistic: str, bins: int | None = None) -> str | None:
        """Return the rule that refuses a statistic whatever the data are, so that it need not be computed.

        Args:
            feature: its name.
            statistic: its name.
            bins: of the histogram, if it is one.
        """
        if not self.rules.shows(feature):
            return "forbidden_features"
        if bins is not None and bins > self.rules.max_bins:
            return f"max_bins: {bins:,} bins, at most {self.rules.max_bins:,} are allowed"
        forbidden = self.rules.forbids(feature, statistic)
        if forbidden is None and self.rules.privacy is not None and statistic not in ("min", "max"):
            return differential.refusal(self.rules, feature, statistic)
        return forbidden

    def bounds(self, feature: str) -> tuple[float, float] | None:
        """Return the bounds into which values are moved before anything is computed; None if they are left alone."""
        return self.rules.bounds(feature) if self.rules.privacy is not None else None

    def categories(self, feature: str) -> tuple[str, ...] | None:
        """Return the only values that are counted apart, others together; None if all are."""
        return None if self.rules.privacy is None else self.rules.categories(feature) or None

    def rank_edges(self, feature: str) -> list[float] | None:
        """Return the edges of cells to count for quantiles, in the place of a sketch; None if a sketch is used.

        The statistic ``quantile`` of the feature is then ``{"edges": edges, "counts": counts}``.
        """
        return differential.rank_edges(self.rules, feature)

    def noisy_ranks(self, dataset: str, feature: str) -> tuple[list[float], list[int]] | None:
        """Return edges of cells and the noisy number of values below each, from which ranks are answered.

        They are those of the summary of this run, also in a process that was started again.
        """
        edges = self.rank_edges(feature)
        if edges is None or self.ledger is None:
            return None
        with self.ledger.reading() as entries:
            key = _key(self.run, dataset, self._source(dataset), feature, "quantile", edges)
            released = None if entries is None else entries.release(key)
        return None if released is None else (edges, [0, *differential.monotone_ranks(released.value)])

    def shown_ranks(self, ranks: Sequence[int]) -> list[int]:
        """Return numbers of values as the rule ``round_counts_to`` lets them be told."""
        return [rounded_count(int(each), self.rules.round_counts_to) for each in ranks]

    def describe(self, datasets: Mapping[str, Sequence[Sequence[str]]]) -> dict[str, list[list[str]]]:
        """Return the features of each data set, with their kinds, without those that may not be mentioned."""
        return {
            dataset: [list(column) for column in columns if self.rules.shows(column[0])]
            for dataset, columns in datasets.items()
        }

    def apply(
        self, reply: Mapping[str, Any], *, config: Mapping[str, Mapping[str, Any]], question: Any = None
    ) -> dict[str, Any]:
        """Return what may leave of a summary, or of histograms whose range was found.

        What is refused is left out and named in ``refused`` with its rule. With a policy file, the answer is noted in
        the ledger before this returns.

        Args:
            reply: ``{"datasets": {dataset: {feature: {statistic: value}}}}`` and perhaps ``"rows"``, ``"matrices"``
                and ``"refused"``; values are exact, of values within :meth:`bounds`.
            config: what was asked for: ``{statistic: {feature or "*": options}}``.
            question: plain data that tell this question from others of the run.
        Raises:
            LedgerError: the ledger cannot be used; nothing may leave.
            PolicyError: the reply is of data sets that were not opened.
        """
        made = Reply.of(reply, config)
        key = _key(self.run, question, config)
        if self.ledger is None:
            return self._answered(made, None, key)
        with self.ledger.writing() as entries:
            return self._answered(made, entries, key)

    def _answered(self, reply: Reply, entries: Entries | None, key: str) -> dict[str, Any]:
        _log_failures(reply, self.rules.min_count)
        allowed = {dataset: self._count_query(dataset, entries, key) for dataset in reply.datasets}
        for dataset, rule in allowed.items():
            if rule is not None:
                reply.refuse_dataset(dataset, rule)
        secret = self._secret if entries is None else entries.secret
        answer = Answer(self.rules, self.run, secret, entries, self._totals, self._is_masked)
        if self.rules.privacy is not None and entries is not None:
            release_all(reply, self.rules, entries, run=self.run, source=self._source, key=_key)
        else:
            for dataset in reply.datasets:
                answer.apply(reply, dataset, self._source(dataset))
        return reply.to_plain()

    def _count_query(self, dataset: str, entries: Entries | None, key: str) -> str | None:
        source, most = self._source(dataset), self.rules.max_queries
        if entries is None:
            return None
        key = _key(key, source)
        if most is not None and not entries.has_query(key) and entries.queries(source) >= most:
            return f"max_queries: {most:,} questions about this source were answered, and no more are allowed"
        entries.add_query(key, self.run, source, "summary")
        return None

    def _source(self, dataset: str) -> str:
        if self._sources is None:
            return f"generator:{dataset}"
        if dataset not in self._sources:
            known = ", ".join(self._sources)
            raise PolicyError(f"the data set {dataset!r} was not opened with this policy; there are {known}")
        return self._sources[dataset]


def _log_failures(reply: Reply, least: int) -> None:
    """Say in the site's own log which features have few values because others are no numbers."""
    for dataset, features in reply.datasets.items():
        for feature, values in features.items():
            failures, count = int(values.get("failure_count", 0)), int(values.get("count", least))
            if failures and count < least:
                logger.warning(
                    "%s of %s: %d values are no numbers and %d are, fewer than min_count = %d",
                    *(feature, dataset, failures, count, least),
                )


def _key(*parts: Any) -> str:
    return hashlib.sha256(dumps(list(parts))).hexdigest()


def _kept_secret(path: Path) -> bytes:
    """Return the key in a file, which is made if it is missing: an answer that is given again has the same noise."""
    try:
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))
    except FileExistsError:
        pass
    return path.read_bytes()

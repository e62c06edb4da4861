"""Answers without differential privacy: what the rules let out of exact statistics."""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal
from typing import Any

from flare_stats.privacy.ledger import Entries
from flare_stats.privacy.matrices import facts_of, shown_matrix
from flare_stats.privacy.reply import PARTS, Reply
from flare_stats.privacy.rules import Rules
from flare_stats.privacy.suppression import Binning, shown_beside, shown_categories, shown_counts

_ROWS = "\0rows"  # in the place of a feature in the ledger; no column is called like that


@dataclass
class Answer:
    """The rules of a site, applied to the answer to one question.

    Attributes:
        rules: the rules.
        run: the run's id.
        secret: the key of noise on ranges.
        entries: of the ledger; None without a policy file.
        totals: without a ledger, the number of values by source and feature that a summary of the run has told.
        is_masked: the answer leaves under masks, so no reason may hold a number of this site alone.
    """

    rules: Rules
    run: str
    secret: bytes
    entries: Entries | None
    totals: MutableMapping[tuple[str, str], int]
    is_masked: bool = False

    def apply(self, reply: Reply, dataset: str, source: str) -> None:
        """Leave out of a data set's statistics what the rules do not allow, and round what they do."""
        features = reply.datasets[dataset]
        for feature in list(features):
            if not self.rules.shows(feature):
                del features[feature]  # without a word, which would tell that there is such a feature
                continue
            values = features[feature]
            rule = self._rule_for_all(source, feature, values)
            if rule is not None:
                reply.refused = [row for row in reply.refused if row[:2] != [dataset, feature]]  # reasons tell, too
                reply.refuse(dataset, feature, reply.wanted(feature), rule)
                del features[feature]
                continue
            features[feature] = self._shown(reply, dataset, source, feature, values)
        reply.refused = [row for row in reply.refused if self.rules.shows(row[1])]
        if dataset in reply.rows:
            rows = reply.rows.pop(dataset)
            rule = None
            if self.entries is not None:
                rule = self._rule_for_change(self.entries, source, _ROWS, {"count": int(rows)})
            if rule is None and not _is_few(rows, self.rules.min_count):
                reply.rows[dataset] = self._rounded_count(rows)
        if dataset in reply.matrices:
            exact = reply.matrices.pop(dataset)
            matrix, lost = shown_matrix(self.rules, exact)
            if matrix is not None and self.entries is not None:
                rule = self._rule_for_change(self.entries, source, f"matrix {exact['features']}", facts_of(exact))
                if rule is not None:
                    lost = [(name, "correlation", rule) for name in matrix["features"]]
                    matrix = None
            if matrix is not None:
                reply.matrices[dataset] = matrix
            reply.refused += [[dataset, pair, statistic, rule] for pair, statistic, rule in lost]

    def _rule_for_all(self, source: str, feature: str, values: Mapping[str, Any]) -> str | None:
        """Return the rule by which nothing may be said about a feature."""
        total = self._total(source, feature, values)
        if self.entries is None:
            if "count" in values and total is not None:
                self.totals[source, feature] = total
            total = self.rules.min_count if total is None else total  # told by a process before this one
        elif total is None:
            return "min_count: the run has no summary of the feature"
        if _is_few(total, self.rules.min_count):
            return f"min_count: fewer than {self.rules.min_count} values{self._failures(source, feature, values)}"
        if self.entries is None:
            return None
        if "count" not in values:
            return None
        return self._rule_for_change(self.entries, source, feature, self._facts(values))

    def _failures(self, source: str, feature: str, values: Mapping[str, Any]) -> str:
        """Return how many values of a refused feature are no numbers, to end its refusal; nothing if that is hidden.

        Who knows the number of rows learns how many are no failures. So those must be none, or not few.
        """
        failures, least = int(values.get("failure_count", 0)), self.rules.min_count
        others = int(values.get("count", 0)) + int(values.get("missing", 0))
        is_hidden = self.is_masked or self.rules.forbids(feature, "failure_count") is not None
        if is_hidden or not any(shown_counts([failures], failures + others, least)):
            return ""
        if self.entries is not None:
            if self.entries.facts(source, feature):  # failures were told beside the values
                return ""
            if self._rule_for_change(self.entries, source, f"failures {feature}", {"count": failures}) is not None:
                return ""
        return f"; {self._rounded_count(failures):,} values are no numbers"

    def _rule_for_change(self, entries: Entries, source: str, about: str, facts: Mapping[str, Any]) -> str | None:
        """Note what an answer is computed from; return the rule if few values changed since an earlier one."""
        least = self.rules.min_difference
        for earlier in entries.facts(source, about):
            if not _agree(facts, earlier) and abs(facts["count"] - earlier["count"]) < least:
                return (
                    f"min_difference: fewer than {least} values were added or removed since an earlier answer, whose"
                    " difference to this one would tell them"
                )
        entries.add_facts(self.run, source, about, facts)
        return None

    def _facts(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return what tells these values from others."""
        facts: dict[str, Any] = {name: int(values[name]) for name in ("count", "missing") if name in values}
        facts |= {name: float(values[name]) for name in ("mean", "var", "min", "max") if name in values}
        if "categories" in values:
            facts["categories"] = {self._hidden(key): int(count) for key, count in values["categories"].items()}
        return facts

    def _hidden(self, text: str) -> str:
        """Return a text by which the ledger knows a category, so that no text of the data lies there."""
        return hmac.new(self.secret, text.encode(errors="surrogatepass"), hashlib.sha256).hexdigest()[:16]

    def _total(self, source: str, feature: str, values: Mapping[str, Any]) -> int | None:
        """Return the number of values of a feature, which another answer to the run may have told."""
        if "count" in values:
            return int(values["count"])
        if self.entries is not None:
            return self.entries.count_told(self.run, source, feature)
        return self.totals.get((source, feature))

    def _shown(
        self, reply: Reply, dataset: str, source: str, feature: str, values: Mapping[str, Any]
    ) -> dict[str, Any]:
        shown: dict[str, Any] = {}
        total = self._total(source, feature, values) or 0
        for name, value in values.items():
            rule, kept = self._entry(source, feature, name, value, values, total)
            if rule is not None:
                reply.refuse(dataset, feature, PARTS.get(name, ()), rule)
            if kept is not None:
                shown[name] = kept
        for name, needs in (("mean_low", "mean"), ("categories_other", "categories")):
            if needs not in shown:
                shown.pop(name, None)
        if "categories" in shown:
            shown["categories_other"] = self._rounded_count(_others(values, shown["categories"]))
            shown["categories"] = {key: self._rounded_count(count) for key, count in shown["categories"].items()}
        return shown

    def _entry(
        self, source: str, feature: str, name: str, value: Any, values: Mapping[str, Any], total: int
    ) -> tuple[str | None, Any]:
        """Return the rule that changes or refuses an entry, if there is one, and what is left of the entry."""
        if name not in PARTS:
            return "unknown", None
        for statistic in PARTS[name]:
            if rule := self.rules.forbids(feature, statistic):
                return rule, None
        match name:
            case "count" | "missing" | "failure_count" | "categories_other":
                return None, self._rounded_count(value)
            case "sum" | "mean" | "var":
                return None, self._rounded(value)
            case "mean_low":
                return None, value if self.rules.significant_digits is None else 0.0
            case "min" | "max":
                return None, self._widened(source, feature, name, values)
            case "histogram":
                return self._histogram(source, feature, value, total)
            case "categories":
                return self._categories(source, feature, values)
            case "quantile":
                return self._quantile(value, total)
        if not self.rules.distinct_hashes:
            return "distinct_hashes", None
        return None, value

    def _histogram(self, source: str, feature: str, value: Mapping[str, Any], total: int) -> tuple[str | None, Any]:
        edges, counts = [float(each) for each in value["edges"]], [int(each) for each in value["counts"]]
        rules, total = self.rules, max(total, sum(counts))  # more than values, if these are images
        if len(counts) > rules.max_bins:
            return f"max_bins: {len(counts):,} bins, at most {rules.max_bins:,} are allowed", None
        if total and len(counts) > max(1.0, total * rules.max_bins_percent / 100):
            return f"max_bins_percent: more bins than {rules.max_bins_percent:g} % of the values", None
        shown = Binning(edges, counts, shown_counts(counts, total, rules.min_bin), total)
        if self.entries is not None:
            former = self.entries.binnings(source, feature)
            if same := [each for each in former if each.digest == shown.digest and each.counts == counts]:
                shown = same[0]
            elif len({each.digest for each in former} | {shown.digest}) > rules.max_binnings:
                return f"max_binnings: histograms with {rules.max_binnings} other edges were answered", None
            else:
                shown = self._beside(shown, former)
                self.entries.add_binning(self.run, source, feature, shown)
        if sum(counts) and not any(shown.shown):
            return f"min_bin: no bin has {rules.min_bin} values that may be shown", None
        is_cut = list(shown.shown) != counts
        kept = {"edges": edges, "counts": [self._rounded_count(each) for each in shown.shown]}
        return (f"min_bin: bins with fewer than {rules.min_bin} values are shown as 0" if is_cut else None), kept

    def _beside(self, new: Binning, former: Sequence[Binning]) -> Binning:
        """Hide the bins that would tell few values together with earlier histograms."""
        least = self.rules.min_bin
        counts = list(new.shown)
        for each in former:
            if each.digest == new.digest:  # of other values: what was added to a bin is a small number itself
                pairs = zip(new.counts, each.counts, strict=True)
                counts = [0 if 0 < abs(a - b) < least else at for at, (a, b) in zip(counts, pairs, strict=True)]
        cleared = [count if kept else 0 for count, kept in zip(new.counts, counts, strict=True)]
        new = Binning(new.edges, new.counts, shown_counts(cleared, new.total, least), new.total)
        shown = shown_beside(new, [each for each in former if each.total == new.total], least)
        return Binning(new.edges, new.counts, shown, new.total)

    def _categories(self, source: str, feature: str, values: Mapping[str, Any]) -> tuple[str | None, Any]:
        counts, others = dict(values["categories"]), int(values.get("categories_other", 0))
        least = self.rules.min_bin
        total = sum(counts.values()) + others
        if self.entries is not None:
            for earlier in self.entries.facts(source, feature):
                before = earlier.get("categories", {})
                changes = {key: abs(counts[key] - before.get(self._hidden(key), 0)) for key in counts if before}
                for key in [key for key, change in changes.items() if 0 < change < least]:
                    others += counts.pop(key)
        shown, _ = shown_categories(counts, others, least)
        if least <= 1:
            shown = counts
        if total and not shown:
            return f"min_bin: no category has {least} values that may be shown", None
        is_cut = shown != values["categories"]
        return (f"min_bin: categories with fewer than {least} values are not named" if is_cut else None), shown

    def _quantile(self, value: Mapping[str, Any], total: int) -> tuple[str | None, Any]:
        own = value.get("own")
        if own is None:
            return None, {**value, "count": self._rounded_count(value["count"])} if "count" in value else dict(value)
        least = self.rules.min_count
        kept = {
            fraction: self._rounded(number)
            for fraction, number in own.items()
            if min(float(fraction), 1 - float(fraction)) * total >= least or least <= 1
        }
        rule = None if len(kept) == len(own) else f"min_count: fewer than {least} values lie beyond the quantile"
        return rule, ({**value, "own": kept} if kept else None)

    def _widened(self, source: str, feature: str, name: str, values: Mapping[str, Any]) -> Any:
        """Move an end of a range outwards, by noise that is the same whenever the range is the same."""
        low, high = float(values.get("min", values[name])), float(values.get("max", values[name]))
        value, least, most = float(values[name]), *self.rules.range_noise
        if most == 0 and self.rules.significant_digits is None:
            exact: float = values[name]  # an integer, if a float would round it
            return exact
        if most > 0:
            text = f"{source}\0{feature}\0{name}\0{low!r}\0{high!r}"
            digest = hmac.new(self.secret, text.encode(), hashlib.sha256).digest()
            share = least + (most - least) * int.from_bytes(digest[:8], "big") / 2**64
            span = (high - low) or abs(value) or 1.0
            moved = value - share * span if name == "min" else value + share * span
            value = moved if math.isfinite(moved) else value
        return self._rounded(value, ROUND_FLOOR if name == "min" else ROUND_CEILING)

    def _rounded(self, value: float, rounding: str = ROUND_HALF_EVEN) -> float:
        digits = self.rules.significant_digits
        if digits is None or not math.isfinite(value):
            return value
        return float(Context(prec=digits, rounding=rounding).create_decimal(Decimal(value)))

    def _rounded_count(self, count: int) -> int:
        return rounded_count(count, self.rules.round_counts_to)


def rounded_count(count: int, base: int) -> int:
    """Return the multiple of a number that is nearest to a count."""
    return count if base <= 1 else base * round(int(count) / base)


def _others(values: Mapping[str, Any], shown: Mapping[str, int]) -> int:
    total = sum(values["categories"].values()) + int(values.get("categories_other", 0))
    return int(total) - sum(shown.values())


def _is_few(count: float, least: int) -> bool:
    return count < least and not (count == 0 and least <= 1)


def _agree(facts: Mapping[str, Any], earlier: Mapping[str, Any]) -> bool:
    """Return True if nothing in two answers shows that they are of different values; jobs ask for different things."""
    shift = 1e-12 * math.sqrt(max(facts.get("var", 0.0), 0.0))  # of a mean near 0, by another order of the rows
    for name in facts.keys() & earlier.keys() - {"categories"}:
        if not math.isclose(facts[name], earlier[name], rel_tol=1e-9, abs_tol=shift if name == "mean" else 0.0):
            return False
    before = earlier.get("categories", {})
    return all(before.get(key, count) == count for key, count in facts.get("categories", {}).items())

"""The state of a site's budget, and what its policy says and leaves open, for its owner to read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flare_stats.privacy.errors import PolicyError
from flare_stats.privacy.ledger import LEDGER, Ledger
from flare_stats.privacy.rules import POLICY, Privacy, Rules

_MUCH = 10.0  # an epsilon above which the guarantee says little


def policies_in(place: Path) -> list[Path]:
    """Return the policy files of a kit, of a folder of settings, or of all sites of a simulator's workspace.

    Raises:
        PolicyError: there is none; names the places that were looked at.
    """
    if place.is_file():
        return [place]
    for pattern in (POLICY, f"local/{POLICY}", f"local/*/{POLICY}"):
        if found := sorted(place.glob(pattern)):
            return found
    raise PolicyError(
        f"{place} has no {POLICY}, neither in itself nor in local/ nor in local/<site>/; give a kit, a workspace of the"
        " simulator, or the folder with the policy"
    )


def budget_of(policy: Path) -> dict[str, Any]:
    """Return what was answered and spent under a policy, as plain data.

    Raises:
        PolicyError: the policy or the ledger cannot be used.
    """
    rules = Rules.read(policy)
    found: dict[str, Any] = {"policy": str(policy), "begun": None, "sources": [], "runs": []}
    spent = (0.0, 0.0)
    with Ledger(policy.parent / LEDGER).reading() as entries:
        if entries is not None:
            spent = entries.spent()
            found["begun"] = entries.begun
            found["sources"] = [
                {"source": source, "questions": count, "last": time}
                for source, count, time in entries.queries_by_source()
            ]
            found["runs"] = [
                dict(zip(("run", "first", "releases", "epsilon", "delta"), row, strict=True))
                for row in entries.spent_by_run()
            ]
    found["max_queries"] = rules.max_queries
    for name, used in zip(("epsilon", "delta"), spent, strict=True):
        total = None if rules.privacy is None else getattr(rules.privacy, f"total_{name}")
        left = None if total is None else max(total - used, 0.0)
        found[name] = {"total": total, "spent": used, "left": left}
    return found


def budget_text(budget: dict[str, Any]) -> str:
    """Return a budget for people to read."""
    lines = [budget["policy"]]
    if budget["epsilon"]["total"] is None:
        lines.append("  no differential privacy, so nothing is charged")
    for name in ("epsilon", "delta"):
        if of := budget[name]["total"]:
            lines.append(f"  {name}: {budget[name]['spent']:g} of {of:g} spent, {budget[name]['left']:g} left")
    lines.append(f"  ledger begun {budget['begun']}" if budget["begun"] else "  nothing was answered yet")
    for each in budget["sources"]:
        most = "" if budget["max_queries"] is None else f" of {budget['max_queries']:,}"
        lines.append(f"  {each['source']}: {each['questions']:,}{most} questions, the last one {each['last']}")
    for each in budget["runs"]:
        delta = f", delta {each['delta']:g}" if each["delta"] else ""
        lines.append(
            f"  run {each['run']}, {each['first']}: {each['releases']:,} releases, epsilon {each['epsilon']:g}{delta}"
        )
    return "\n".join(lines)


def policy_text(rules: Rules) -> str:
    """Return what a policy says, in sentences, and what it leaves open."""
    says = [
        f"Nothing is said about fewer than {rules.min_count} values.",
        f"Bins and categories of fewer than {rules.min_bin} values are hidden.",
        f"A histogram has at most {rules.max_bins:,} bins, and {rules.max_bins_percent:g} % of the number of values.",
    ]
    if rules.min_difference and rules.privacy is None:  # noise hides small differences
        says.append(
            f"A feature is not answered again while fewer than {rules.min_difference} records were added, removed or"
            " changed since an earlier answer (min_difference)."
        )
    if rules.max_queries is not None:
        says.append(f"At most {rules.max_queries:,} questions about one source are answered (max_queries).")
    if rules.forbidden_statistics:
        says.append(f"Never answered: {', '.join(sorted(rules.forbidden_statistics))}.")
    if rules.forbidden_features:
        says.append(f"Never mentioned: features like {', '.join(rules.forbidden_features)}.")
    if rules.allowed_features != ("*",):
        says.append(f"Only mentioned: features like {', '.join(rules.allowed_features)}.")
    says.append(
        "A job may read any source." if rules.sources is None else f"A job may read {', '.join(rules.sources)}."
    )
    says.append(_noise_text(rules) if rules.privacy is None else _privacy_text(rules.privacy, rules))
    says += _idle(rules)
    opened = gaps(rules)
    return "\n".join([*says, *(["", "Left open:"] if opened else []), *(f"- {each}" for each in opened)])


def _noise_text(rules: Rules) -> str:
    low, high = (100 * share for share in rules.range_noise)
    return (
        f"Minimum and maximum are moved outwards by {low:g} to {high:g} % of the range; other numbers are exact to"
        f" {rules.significant_digits} digits. There is no differential privacy."
    )


def _privacy_text(privacy: Privacy, rules: Rules) -> str:
    bounded = [name for name, each in rules.features.items() if each.bounds is not None]
    listed = [name for name, each in rules.features.items() if each.categories]
    delta = f", delta {privacy.delta:g} of {privacy.total_delta:g}" if privacy.mechanism == "gaussian" else ""
    return (
        f"Answers have {privacy.mechanism.capitalize()} noise: epsilon {privacy.epsilon:g} a release, of"
        f" {privacy.total_epsilon:g} in all{delta}. Sums, means, variances and quantiles have an answer for"
        f" {', '.join(bounded) or 'no feature, since none has bounds'}; categories for"
        f" {', '.join(listed) or 'no feature, since none has its categories listed'}."
    )


def _idle(rules: Rules) -> list[str]:
    """Return which rules of features have no effect, since they are for differential privacy alone."""
    if rules.privacy is not None:
        return []
    given = {
        "bounds": [name for name, each in rules.features.items() if each.bounds is not None],
        "categories": [name for name, each in rules.features.items() if each.categories],
    }
    return [
        f"Without differential privacy, {rule} have no effect; there are some for {', '.join(names)}."
        for rule, names in given.items()
        if names
    ]


def gaps(rules: Rules) -> list[str]:
    """Return what a policy does not protect from, although it could."""
    found = []
    if rules.sources is None:
        found.append("sources is missing: a job can read every file that the client can read")
    if rules.sql_queries:
        found.append("sql_queries is true: a job can choose by a query which records are counted, down to few of them")
    if rules.distinct_hashes:
        found.append("distinct_hashes is true: a party with the sites' shared key can test whether a value is there")
    if rules.min_difference == 0:
        found.append("min_difference is 0: two answers, before and after a record was added, tell the record")
    if rules.privacy is None:
        if rules.range_noise[1] == 0:
            found.append("range_noise is [0, 0]: minimum and maximum are values of single records")
        found.append("no differential privacy: someone who knows all records but one can compute that one from a sum")
    elif rules.privacy.total_epsilon > _MUCH:
        found.append(f"total_epsilon is {rules.privacy.total_epsilon:g}: above {_MUCH:g}, it guarantees little")
    return found
